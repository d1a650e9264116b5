"""Tests of admission control under overload."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.batching.admission import Admission, BatchLimits, Priority, QueueForecast
from serve_app.errors import QueueFullError

BOUND_S = 2.0
BULK_BOUND_S = 10.0
BURST = 0.6


class Door:
    """Admission control with a clock that advances with each request."""

    def __init__(self) -> None:
        self.admission = Admission(BatchLimits(max_queue_wait_s=BOUND_S, max_bulk_wait_s=BULK_BOUND_S))
        self.now = 0.0

    def arrive(
        self,
        *,
        wait_s: float,
        own_s: float = 0.0,
        waiting: int = 10,
        after_s: float = 0.1,
        priority: Priority = "interactive",
    ) -> bool:
        """Submit a request and return whether it was admitted."""
        self.now += after_s
        forecast = QueueForecast(waiting_items=waiting, waiting_tokens=100, wait_s=wait_s, own_s=own_s)
        try:
            self.admission.check_room(forecast, items=1, tokens=10, priority=priority, now=self.now)
        except QueueFullError as refusal:
            assert refusal.retry_after_s == pytest.approx(wait_s, abs=0.001)
            if priority == "interactive":
                stated_s = float(re.findall(r"limit: ([\d.]+) s now", str(refusal))[0])
                assert BOUND_S / 2 < stated_s <= BOUND_S
            return False
        self.admission.joined(priority)
        return True


def test_the_entire_bound_is_there_for_a_queue_that_grows() -> None:
    door = Door()
    assert all(door.arrive(wait_s=min(BOUND_S, 0.05 * count)) for count in range(500))
    assert not door.arrive(wait_s=BOUND_S + 0.01)


def test_a_burst_fills_a_part_of_the_bound_and_time_gives_it_the_rest() -> None:
    door = Door()
    door.arrive(wait_s=0.0)
    assert door.arrive(wait_s=(BURST - 0.01) * BOUND_S, after_s=0)
    assert not door.arrive(wait_s=(BURST + 0.01) * BOUND_S, after_s=0)
    assert all(door.arrive(wait_s=0.5 * BOUND_S) for _ in range(50))
    assert door.arrive(wait_s=0.99 * BOUND_S, after_s=0)
    assert door.arrive(wait_s=0.0, after_s=10)
    assert not door.arrive(wait_s=(BURST + 0.01) * BOUND_S, after_s=0)


def test_in_an_overload_the_queue_is_three_tenths_shorter_and_afterwards_as_long_as_before() -> None:
    door = Door()
    for _ in range(1000):
        door.arrive(wait_s=BOUND_S + 1)
    assert not door.arrive(wait_s=0.75 * BOUND_S)
    assert door.arrive(wait_s=0.7 * BOUND_S)
    for _ in range(1000):
        door.arrive(wait_s=0.7 * BOUND_S)
    assert door.arrive(wait_s=0.99 * BOUND_S)


def test_where_nothing_waits_every_request_may_join_whatever_its_size() -> None:
    door = Door()
    assert not door.arrive(wait_s=0.1, own_s=100.0)
    assert door.arrive(wait_s=0.1, own_s=100.0, waiting=0)


def test_a_requests_own_work_counts_against_its_bound() -> None:
    door = Door()
    assert door.arrive(wait_s=0.4 * BOUND_S, own_s=0.1 * BOUND_S)
    assert not door.arrive(wait_s=0.4 * BOUND_S, own_s=0.9 * BOUND_S)


def test_a_bulk_request_has_the_bulk_bound_in_bursts_and_overloads_too() -> None:
    door = Door()
    for _ in range(1000):
        door.arrive(wait_s=BOUND_S + 1)
    assert door.arrive(wait_s=0.9 * BULK_BOUND_S, own_s=0.09 * BULK_BOUND_S, priority="bulk")
    assert not door.arrive(wait_s=0.9 * BULK_BOUND_S, own_s=0.11 * BULK_BOUND_S, priority="bulk")


@given(st.lists(st.tuples(st.floats(0, 2 * BOUND_S), st.floats(0, 2))))
def test_less_than_half_of_the_bound_is_never_refused_and_more_than_all_of_it_always(
    arrivals: list[tuple[float, float]],
) -> None:
    door = Door()
    for wait_s, after_s in arrivals:
        joined = door.arrive(wait_s=wait_s, after_s=after_s)
        assert joined or wait_s > BOUND_S / 2
        assert not joined or wait_s <= BOUND_S


def test_a_refusal_states_the_bound_and_when_to_retry() -> None:
    forecast = QueueForecast(waiting_items=1, waiting_tokens=1, wait_s=2.5, own_s=0)
    stated = r"2\.5 s; limit: 2 s now \(max_queue_wait_s\); retry in 2\.5 s"
    with pytest.raises(QueueFullError, match=stated):
        Door().admission.check_room(forecast, items=1, tokens=1, priority="interactive", now=10.0)


@pytest.mark.parametrize("name", BatchLimits.__slots__)
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BatchLimits(**{name: 0})
