"""Tests of slices: every text of a set that has the column is in exactly one slice."""

import pytest

from train.datasets.examples import Example
from train.errors import DataError
from train.evaluation.slices import OTHER, slices_of


def example(**columns: str) -> Example:
    return Example("text", 0, columns)


SETS = {
    "shop": [example(department="a")] * 3 + [example(department="b")] * 5 + [example(department="c")],
    "films": [example()] * 4,
}


def test_slices_are_the_largest_first_and_the_small_joined() -> None:
    found = slices_of(SETS, ["department"], least_texts=3)

    assert [(part.set, part.value, part.places) for part in found] == [
        ("shop", "b", (3, 4, 5, 6, 7)),
        ("shop", "a", (0, 1, 2)),
        ("shop", OTHER, (8,)),
    ]


def test_every_text_is_in_one_slice() -> None:
    found = slices_of(SETS, ["department"], least_texts=4)

    assert sorted(place for part in found for place in part.places) == list(range(9))


def test_a_column_that_no_set_has_is_an_error() -> None:
    with pytest.raises(DataError, match="no set has the column 'colour'"):
        slices_of(SETS, ["colour"])


def test_no_column_no_slices() -> None:
    assert slices_of(SETS, []) == []
