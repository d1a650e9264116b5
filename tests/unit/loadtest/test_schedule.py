"""Tests of the arrival schedule: rate, distribution, and reproducibility by a seed."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.schedule import KINDS, ArrivalRate, Kind, arrivals, in_flight_bound


def first(pace: ArrivalRate, count: int, pod: int = 0) -> list[float]:
    return list(islice(arrivals(pace, pod), count))


def test_constant_arrivals_are_evenly_spaced_from_a_phase_of_their_own() -> None:
    due = first(ArrivalRate(600, "constant", seed=1), 50)
    assert 0 <= due[0] < 0.1
    assert [b - a for a, b in pairwise(due)] == pytest.approx([0.1] * 49)
    assert first(ArrivalRate(600, "constant", seed=1), 1, pod=1) != due[:1]  # pods do not send in step


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_callers() -> None:
    due = first(ArrivalRate(600, "poisson", seed=1), 20_000)
    gaps = [b - a for a, b in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.1, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.05)  # property of an exponential distribution


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_schedule_and_each_pod_another(kind: Kind) -> None:
    assert first(ArrivalRate(600, kind, 7), 20) == first(ArrivalRate(600, kind, 7), 20)
    assert first(ArrivalRate(600, kind, 7), 20) != first(ArrivalRate(600, kind, 8), 20)
    assert first(ArrivalRate(600, kind, 7), 20) != first(ArrivalRate(600, kind, 7), 20, pod=1)


@given(st.floats(1, 60_000), st.sampled_from(KINDS), st.integers(), st.integers(0, 63))
def test_due_times_never_fall(per_minute: float, kind: Kind, seed: int, pod: int) -> None:
    due = first(ArrivalRate(per_minute, kind, seed), 100, pod)
    assert due[0] >= 0 and all(a <= b for a, b in pairwise(due))


@pytest.mark.parametrize("kind", KINDS)
def test_no_request_has_to_wait_for_another_even_when_none_is_answered(kind: Kind) -> None:
    pace, timeout_s = ArrivalRate(600, kind, seed=3), 10.0
    due = first(pace, 20_000)
    most = oldest = 0
    for newest, now_s in enumerate(due):
        while due[oldest] <= now_s - timeout_s:
            oldest += 1
        most = max(most, newest - oldest + 1)
    assert most <= in_flight_bound(pace, timeout_s)
