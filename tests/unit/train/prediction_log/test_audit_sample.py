"""Tests of the audit sample: export for labelling, import, and precedence of its labels over feedback."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.train.prediction_log.logs import answered, truth, write
from train.__main__ import main
from train.prediction_log.join import AUDITED, TRUTH, Join
from train.prediction_log.reader import Log, Window


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a log of ten requests with two texts; every third is marked, and two have feedback."""
    records = [answered(f"r{i}", f"one {i}", f"two {i}", seconds=i) for i in range(10)]
    marked = [replace(one, audit_fraction=0.3) if i % 3 == 0 else one for i, one in enumerate(records)]
    write(tmp_path / "log", marked, [truth("r3", "NEUTRAL", seconds=9_000), truth("r1", "NEGATIVE")])
    return tmp_path


def sample(root: Path) -> list[dict[str, str]]:
    window = ["--since", "2026-11-26T00:00+00:00", "--until", "2026-11-27T00:00+00:00"]
    out = root / "sample.csv"
    assert main(["feedback", "sample", "--log", str(root / "log"), *window, "--out", str(out)]) == 0
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def label(root: Path, rows: list[dict[str, str]]) -> int:
    with (root / "labelled.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return main(["feedback", "import", str(root / "labelled.csv"), "--log", str(root / "log"), "--audit"])


def test_marked_texts_are_exported_without_the_answer_and_once(root: Path) -> None:
    rows = sample(root)

    assert [(row["request_id"], row["index"]) for row in rows] == [
        (f"r{i}", index) for i in (0, 3, 6, 9) for index in "01"
    ]
    assert rows[0] == {"request_id": "r0", "index": "0", "text": "one 0", "label": ""}
    rows[2]["label"] = rows[3]["label"] = "NEGATIVE"
    assert label(root, rows) == 0
    assert {row["request_id"] for row in sample(root)} == {"r0", "r6", "r9"}, "those without a label again"


def test_an_audit_label_counts_before_feedback_and_only_of_marked_answers(root: Path) -> None:
    unmarked = {"request_id": "r1", "index": "1", "text": "two 1", "label": "POSITIVE"}
    rows = [{**row, "label": "NEGATIVE"} for row in sample(root)]
    assert label(root, [*rows, unmarked]) == 0

    joined = Join(Log(str(root / "log")), Window(), ("request_id", "index"))
    found = {(row["request_id"], row["index"]): row for batch in joined for row in batch.to_pylist()}

    assert {key for key, row in found.items() if row[AUDITED]} == {
        (f"r{i}", j) for i in (0, 3, 6, 9) for j in (0, 1)
    }
    assert found["r3", 0][TRUTH] == "NEGATIVE", "although the complaint came later"
    assert not found["r1", 0][AUDITED] and not found["r1", 1][AUDITED]
