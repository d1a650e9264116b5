"""Tests of the diff: it shows the part of a value that changes, for values of any length."""

import pytest

from cluster.kuberay.client.diff import difference

LONG = "python -m train fit " + "--option value " * 10


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (1, 2, "a: 1 -> 2"),
        ("x", "y", "a: x -> y"),
        (f"{LONG}--out runs/1", f"{LONG}--out runs/2", "--out runs/1 -> …"),
        (f"{LONG}--out runs/1", f"{LONG}--out runs/2", "--out runs/2"),
        ("x" * 500, "y" * 500, f"a: {'x' * 119}… -> {'y' * 119}…"),
        ([LONG, "1"], [LONG, "1", "2"], '"1", "2"]'),
    ],
)
def test_the_part_that_changes_is_shown(before: object, after: object, shown: str) -> None:
    [line] = difference({"a": before}, {"a": after})
    assert shown in line
