"""Tests of fault isolation: only the items that fail by themselves fail."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from serve_app.batching.isolation import isolate


class Model:
    """Model that fails on each batch with a bad number, or on every batch."""

    def __init__(self, bad: set[int], is_broken: bool = False) -> None:
        self.bad, self.is_broken, self.forwards = bad, is_broken, 0

    def forward(self, batch: Sequence[int]) -> list[int]:
        self.forwards += 1
        if self.is_broken or self.bad & set(batch):
            raise ValueError("no")
        return [10 * number for number in batch]


@given(st.integers(1, 60), st.sets(st.integers(0, 59), min_size=1))
def test_the_guilty_fail_and_the_others_have_their_results(count: int, bad: set[int]) -> None:
    bad = {number for number in bad if number < count} or {0}
    model, items = Model(bad), list(range(count))
    results, device_error = isolate(model.forward, items, items, ValueError("no"), -1)
    assert device_error is None
    for item, result in zip(items, results, strict=True):
        assert isinstance(result, ValueError) if item in bad else result == 10 * item
    assert model.forwards <= 1 + 2 * count


def test_one_guilty_item_costs_a_few_forwards() -> None:
    model, items = Model({77}), list(range(256))
    isolate(model.forward, items, items, ValueError("no"), -1)
    assert model.forwards <= 1 + 2 * 8


def test_an_owner_fails_with_its_first_guilty_item() -> None:
    model, items = Model(set(range(256))), list(range(256))
    results, _ = isolate(model.forward, items, ["one request"] * 256, ValueError("no"), -1)
    assert all(isinstance(result, ValueError) for result in results)
    assert model.forwards <= 12


def test_where_the_probe_fails_too_the_device_is_at_fault_and_nothing_is_tried() -> None:
    model, items = Model(set(), is_broken=True), list(range(100))
    results, device_error = isolate(model.forward, items, items, ValueError("no"), -1)
    assert isinstance(device_error, ValueError) and results == [device_error] * 100
    assert model.forwards == 1


def test_without_a_probe_the_device_is_at_fault_where_nothing_passes() -> None:
    assert isolate(Model({0, 1}).forward, [0, 1], [0, 1], ValueError("no"), None)[1] is not None
    assert isolate(Model({0}).forward, [0, 1], [0, 1], ValueError("no"), None)[1] is None
