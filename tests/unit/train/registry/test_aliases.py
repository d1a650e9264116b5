"""Tests of alias records: their state after any sequence of moves, and valid alias names."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.errors import RegistryRequestError, RegistryUnavailableError
from train.registry.aliases import AliasRecord, Expect, as_bytes, check_alias, meets, moved, parse_record

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
VERSIONS = st.sampled_from(["1", "2", "3", None])


def record(*versions: str | None) -> AliasRecord:
    made = AliasRecord(name="senti", alias="champion")
    for place, version in enumerate(versions):
        at = BEGIN + timedelta(minutes=place)
        made = moved(made, version, version and version * 64, at=at, write_id=str(place))
    return made


def test_a_record_says_what_it_is_and_what_it_was() -> None:
    made = record("1", "2")

    assert (made.version, made.previous, made.sequence) == ("2", "1", 2)
    assert [(move.before, move.version) for move in made.moves] == [(None, "1"), ("1", "2")]


@pytest.mark.parametrize(
    ("versions", "previous"),
    [
        ((), None),
        (("1",), None),
        (("1", "2", "1"), "2"),  # rolled back
        (("1", "2", None), "2"),  # alias removed
        (("1", None, "2"), "1"),
        (("1", None, "1"), None),
        (("1", "2", "3", None, "3"), "2"),
    ],
)
def test_previous_is_the_last_other_version(versions: tuple[str | None, ...], previous: str | None) -> None:
    assert record(*versions).previous == previous


@pytest.mark.parametrize(
    ("versions", "previous"),
    [
        (("1", "2"), None),
        (("0", "1", "2"), "0"),
        (("0", "1", "2", "1"), "2"),  # the last move did not start at version 1
    ],
)
def test_a_move_that_is_taken_back_leaves_previous_as_it_was(
    versions: tuple[str, ...], previous: str | None
) -> None:
    made = moved(record(*versions), "1", "1" * 64, at=BEGIN, write_id="back", undo=True)

    assert (made.version, made.previous) == ("1", previous)
    again = moved(made, "3", "3" * 64, at=BEGIN, write_id="on")
    assert again.previous == "1"


@given(st.lists(VERSIONS, max_size=30))
def test_a_record_survives_storing(versions: list[str | None]) -> None:
    made = record(*versions)

    assert parse_record(as_bytes(made), where="here") == made


@given(st.lists(VERSIONS, min_size=201, max_size=260))
def test_a_long_history_is_cut_at_its_beginning_alone(versions: list[str | None]) -> None:
    made = record(*versions)

    assert len(made.moves) == 200
    assert [move.sequence for move in made.moves] == list(range(len(versions) - 199, len(versions) + 1))
    assert [move.version for move in made.moves] == versions[-200:]


def test_what_is_no_record_is_named() -> None:
    with pytest.raises(
        RegistryUnavailableError, match=r"s3://b/aliases/senti/champion\.json is not the record"
    ):
        parse_record(b'{"moves": 3}', where="s3://b/aliases/senti/champion.json")


def test_expectations() -> None:
    assert meets(record(), Expect.ANYTHING) and meets(record("1"), Expect.ANYTHING)
    assert meets(record(), Expect.NOTHING) and meets(record("1", None), Expect.NOTHING)
    assert not meets(record("1"), Expect.NOTHING)
    assert meets(record("1", "2"), "2")
    assert not meets(record("1", "2"), "1")


@pytest.mark.parametrize("alias", ["champion", "canary", "eu-west_2", "a"])
def test_names_of_aliases(alias: str) -> None:
    check_alias(alias)


@pytest.mark.parametrize("alias", ["", "Champion", "latest", "v7", "7", "a b", "a/b", "../a", "-a", "a" * 65])
def test_names_that_no_alias_has(alias: str) -> None:
    with pytest.raises(RegistryRequestError, match="not a valid name of an alias"):
        check_alias(alias)


def test_previous_cannot_be_moved_by_itself() -> None:
    with pytest.raises(RegistryRequestError, match="move champion"):
        check_alias("previous")
