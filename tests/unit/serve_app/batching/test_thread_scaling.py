"""Tests of the minimum size of a batch that uses all cores, on devices with known times."""

import math
from collections.abc import Callable

import pytest

from serve_app.batching.thread_scaling import MIN_SPEEDUP, measure_min_parallel_tokens

SIZES = [(10, 10), (60, 60), (200, 200)]


class Device:
    """Device whose time in seconds is a function of the tokens and of whether all cores compute."""

    def __init__(self, seconds: Callable[[int, bool], float]) -> None:
        self.seconds = seconds
        self.now = 0.0

    def run(self, tokens: int, on_all_cores: bool) -> None:
        self.now += self.seconds(tokens, on_all_cores)

    def measure(self) -> float:
        return measure_min_parallel_tokens(self.run, SIZES, clock=lambda: self.now)


@pytest.mark.parametrize(
    ("fixed_s", "expected"),
    [(0.0, 10), (10.0, 60), (50.0, 200), (500.0, math.inf)],
)
def test_all_cores_are_used_from_the_size_at_which_they_pay(fixed_s: float, expected: float) -> None:
    """Two cores halve the work and add a fixed time for their synchronisation."""
    device = Device(lambda tokens, on_all: tokens / 2 + fixed_s if on_all else float(tokens))
    assert device.measure() == expected


@pytest.mark.parametrize(("speedup", "expected"), [(0.99 * MIN_SPEEDUP, math.inf), (1.01 * MIN_SPEEDUP, 10)])
def test_a_small_speedup_does_not_pay(speedup: float, expected: float) -> None:
    assert Device(lambda tokens, on_all: tokens / (speedup if on_all else 1)).measure() == expected


def test_a_disturbed_round_does_not_count() -> None:
    calls = 0

    def seconds(tokens: int, on_all: bool) -> float:
        nonlocal calls
        calls += 1
        return tokens / (2 if on_all else 1) + (1000 if calls % 3 == 1 else 0)

    assert Device(seconds).measure() == 10
