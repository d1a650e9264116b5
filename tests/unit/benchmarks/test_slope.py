"""Tests of the slope's confidence interval on noise as memory series have it: error rate and power."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.chaos.slope import slope

TIMES = np.arange(240) * 2.0
Make = Callable[[np.random.Generator], np.ndarray]


def autocorrelated(rng: np.random.Generator) -> np.ndarray:
    series = rng.standard_normal(len(TIMES))
    for place in range(1, len(series)):
        series[place] += 0.9 * series[place - 1]
    return series


def random_walk(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(len(TIMES)).cumsum()


def rare_steps(rng: np.random.Generator) -> np.ndarray:
    return ((rng.random(len(TIMES)) < 0.02) * rng.choice((-1.0, 1.0), len(TIMES))).cumsum()


def one_step(rng: np.random.Generator) -> np.ndarray:
    return np.where(np.arange(len(TIMES)) < rng.integers(len(TIMES)), 0.0, 5.0)


def growing_share(make: Make, *, leak_per_s: float = 0.0, error: float = 0.05, runs: int = 1000) -> float:
    rng = np.random.default_rng(1)
    leak = leak_per_s * TIMES
    return float(np.mean([slope(TIMES, make(rng) + leak, error=error).grows for _ in range(runs)]))


@pytest.mark.parametrize("make", [autocorrelated, random_walk, rare_steps, one_step])
def test_what_does_not_grow_is_seldom_called_growing(make: Make) -> None:
    # Half of the 5 % error rate is on the upper side: 2.5 %, plus three standard errors of 1,000 runs.
    assert growing_share(make) <= 0.025 + 3 * (0.025 * 0.975 / 1000) ** 0.5


def test_a_leak_is_found_under_each_kind_of_noise() -> None:
    assert growing_share(autocorrelated, leak_per_s=0.1, runs=200) > 0.95
    assert growing_share(random_walk, leak_per_s=0.5, runs=200) > 0.95


def test_constant_and_linear_series_are_exact() -> None:
    constant = slope(TIMES, np.full(len(TIMES), 7.0))
    assert (constant.per_s, constant.low, constant.high, constant.grows) == (0, 0, 0, False)
    linear = slope(TIMES, 3 * TIMES)
    assert linear.grows
    assert linear.per_s == pytest.approx(3, rel=0.01)
    assert not slope(TIMES, -3 * TIMES).grows


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30"):
        slope(TIMES[:20], TIMES[:20])
