"""Tests of the throughput estimate: the fitted line matches the device for any mix of batches."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.batching.throughput import ThroughputEstimator

DEVICES = pytest.mark.parametrize(("fixed_s", "token_s"), [(0.010, 0.0002), (0.005, 0.000004), (0.0, 0.001)])


def observed(batches: list[int], fixed_s: float, token_s: float, noise: float = 0.0) -> ThroughputEstimator:
    estimator = ThroughputEstimator()
    rng = random.Random(7)
    for tokens in batches:
        estimator.observe(tokens, (fixed_s + token_s * tokens) * (1 + rng.uniform(-noise, noise)))
    return estimator


@DEVICES
def test_the_line_is_found_from_two_sizes(fixed_s: float, token_s: float) -> None:
    estimator = observed([10, 10, 400, 400], fixed_s, token_s)
    assert estimator.fixed_s == pytest.approx(fixed_s, abs=1e-9)
    assert estimator.token_s == pytest.approx(token_s)


@DEVICES
def test_an_hour_of_single_short_texts_leaves_what_a_full_batch_takes(fixed_s: float, token_s: float) -> None:
    estimator = observed([12, 12, 512, 512, *[12] * 10_000], fixed_s, token_s, noise=0.1)
    assert estimator.batch_s(512) == pytest.approx(fixed_s + 512 * token_s, rel=0.2)
    assert estimator.work_s(10 * 512, 10) == pytest.approx(10 * (fixed_s + 512 * token_s), rel=0.2)


def test_a_device_that_becomes_slower_shows_within_a_few_batches() -> None:
    estimator = observed([12, 12, 512, 512], 0.01, 0.0002)
    for _ in range(10):
        estimator.observe(512, 3 * (0.01 + 512 * 0.0002))
    assert estimator.batch_s(512) == pytest.approx(3 * (0.01 + 512 * 0.0002), rel=0.2)


def test_one_batch_in_a_stopped_process_does_not_count_as_a_slow_device() -> None:
    estimator = observed([12, 12, *[512] * 20], 0.01, 0.0002)
    estimator.observe(512, 20.0)
    assert estimator.batch_s(512) < 2 * (0.01 + 512 * 0.0002)


def test_a_batch_that_runs_for_too_long_shows_before_it_ends() -> None:
    estimator = observed([12, 12, *[512] * 20], 0.01, 0.0002)
    usual_s = estimator.batch_s(512)
    estimator.see_running([(512, 0.9 * usual_s)])
    assert estimator.batch_s(512) == usual_s
    estimator.see_running([(512, 2 * usual_s), (12, 0.001)])
    twice_s = estimator.batch_s(512)
    assert 1.1 * usual_s < twice_s < 2 * usual_s
    estimator.see_running([(512, 1000 * usual_s)])
    assert twice_s < estimator.batch_s(512) < 2 * usual_s, "one stopped batch is no slow device"
    estimator.see_running([])
    assert estimator.batch_s(512) == usual_s


def test_a_batch_that_was_overdue_has_no_higher_bound_when_it_ends() -> None:
    ended, overdue = (observed([12, 12, *[512] * 20], 0.01, 0.0002) for _ in range(2))
    overdue.see_running([(512, 20.0)])
    for estimator in (ended, overdue):
        estimator.observe(512, 20.0)
        estimator.see_running([])
    assert overdue.batch_s(512) == ended.batch_s(512)


def test_the_first_batch_of_a_size_pays_for_what_is_done_once() -> None:
    estimator = observed([10, 10], 0.01, 0.0002)
    estimator.observe(400, 30.0)
    estimator.observe(400, 0.01 + 400 * 0.0002)
    assert estimator.batch_s(400) == pytest.approx(0.01 + 400 * 0.0002)


def test_nothing_is_known_before_the_second_batch() -> None:
    estimator = ThroughputEstimator()
    estimator.observe(10, 1.0)
    assert (estimator.batch_s(10), estimator.tokens_per_s(10)) == (0.0, 0.0)


@given(st.lists(st.tuples(st.integers(1, 20_000), st.floats(1e-6, 100)), max_size=40))
def test_no_observations_give_a_negative_time(batches: list[tuple[int, float]]) -> None:
    estimator = ThroughputEstimator()
    for tokens, seconds in batches:
        estimator.observe(tokens, seconds)
        assert estimator.fixed_s >= 0 and estimator.token_s >= 0
        assert estimator.batch_s(1) <= estimator.batch_s(1000)
