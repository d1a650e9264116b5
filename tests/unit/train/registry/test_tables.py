"""Tests of the printed tables of versions: column order, and a dash for missing values."""

from datetime import UTC, datetime

from train.registry import tables
from train.registry.aliases import Move
from train.registry.references import ParentVersion, Version

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PLAIN = Version("senti", "1", 1, "file:///a", "a" * 64, AT, "run1", source="hf:x/y")
FULL = Version(
    "senti",
    "2",
    2,
    "s3://b/c",
    "b" * 64,
    AT,
    "run2",
    aliases=("canary", "champion"),
    parent=ParentVersion("senti", "1"),
    data_digest="d" * 64,
    code_commit="c" * 40,
    metrics={"held_out.a.balanced_accuracy": 0.8, "held_out.b.balanced_accuracy": 0.9, "texts": 1200.0},
)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_list() -> None:
    head, _, plain, full = cells(tables.list_table([PLAIN, FULL]))

    assert head == ["version", "aliases", "registered", "balanced accuracy", "parent", "data", "commit"]
    assert plain == ["senti/1", "-", "2026-03-04 05:06", "-", "-", "-", "-"]
    assert full == ["senti/2", "canary, champion", "2026-03-04 05:06", "0.850", "senti/1", "d" * 12, "c" * 12]


def test_two_versions_side_by_side() -> None:
    rows = cells(tables.compare_table(PLAIN, FULL))
    lineage = cells(tables.lineage_table(PLAIN, FULL))
    parameters = cells(
        tables.settings_table(PLAIN, FULL, {"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"})
    )

    assert rows[0] == ["figure", "senti/1", "senti/2", "change"]
    assert rows[-1] == ["texts", "-", "1,200", "-"]
    assert lineage[2:] == [
        ["code commit", "-", "c" * 40],
        ["data digest", "-", "d" * 64],
        ["parent", "-", "senti/1"],
        ["source", "hf:x/y", "-"],
    ]
    assert parameters[2:] == [["b", "2", "3"], ["c", "-", "4"]]


def test_a_change_is_of_the_second_over_the_first() -> None:
    better = Version("senti", "3", 3, "file:///a", "e" * 64, AT, "run3", metrics={"f1": 0.75})
    worse = Version("senti", "4", 4, "file:///a", "f" * 64, AT, "run4", metrics={"f1": 0.5})

    assert cells(tables.compare_table(better, worse))[2] == ["f1", "0.75", "0.5", "-0.25"]


def test_the_moves() -> None:
    moves = [
        Move(sequence=1, version="1", digest="a" * 64, before=None, at=AT, write_id="x"),
        Move(sequence=2, version=None, digest=None, before="1", at=AT, write_id="y"),
    ]

    assert cells(tables.history_table(moves))[2:] == [
        ["1", "2026-03-04 05:06:07", "-", "1", "a" * 12],
        ["2", "2026-03-04 05:06:07", "1", "-", "-"],
    ]


def test_json_of_a_version() -> None:
    found = tables.as_json(FULL)

    assert found["reference"] == "senti/2"
    assert found["created_at"] == "2026-03-04T05:06:07+00:00"
    assert found["parent"] == {"name": "senti", "version": "1", "digest": None}
    assert found["aliases"] == ["canary", "champion"]
