"""Who may join the queue when most may not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.batching.admission import Admission, BatchLimits
from serve_app.errors import QueueFull

BOUND_S = 2.0


class Door:
    """An admission, and a clock that goes on by a while with each request."""

    def __init__(self) -> None:
        self.admission = Admission(BatchLimits(max_queue_wait_s=BOUND_S))
        self.now = 0.0

    def arrive(self, *, ahead_s: float, waiting: int = 10, after_s: float = 0.1) -> bool:
        """A request comes; whether it joined."""
        self.now += after_s
        try:
            self.admission.check_room(
                items=1, tokens=10, waiting=waiting, waiting_tokens=100, ahead_s=ahead_s, now=self.now
            )
        except QueueFull as refusal:
            assert refusal.retry_after_s == ahead_s
            told_s = float(re.findall(r"the bound is ([\d.]+) s now", str(refusal))[0])
            assert BOUND_S / 3 - 0.05 < told_s <= min(BOUND_S, ahead_s + 0.05)  # it has two digits
            return False
        self.admission.joined()
        return True


def test_the_whole_bound_is_there_for_a_queue_that_grows() -> None:
    door = Door()
    assert all(door.arrive(ahead_s=min(BOUND_S, 0.05 * count)) for count in range(500))
    assert not door.arrive(ahead_s=BOUND_S + 0.01)


def test_a_rush_fills_a_third_of_the_bound_and_time_gives_it_the_rest() -> None:
    door = Door()
    door.arrive(ahead_s=0.0)
    assert door.arrive(ahead_s=0.33 * BOUND_S, after_s=0)
    assert not door.arrive(ahead_s=0.34 * BOUND_S, after_s=0)
    assert all(door.arrive(ahead_s=0.33 * BOUND_S) for _ in range(50))
    assert door.arrive(ahead_s=0.66 * BOUND_S, after_s=0)
    assert all(door.arrive(ahead_s=0.66 * BOUND_S) for _ in range(50))
    assert door.arrive(ahead_s=0.99 * BOUND_S, after_s=0)
    assert door.arrive(ahead_s=0.0, after_s=10)
    assert not door.arrive(ahead_s=0.34 * BOUND_S, after_s=0)


def test_in_a_flood_the_queue_is_three_tenths_shorter_and_afterwards_as_long_as_before() -> None:
    door = Door()
    for _ in range(1000):
        door.arrive(ahead_s=BOUND_S + 1)
    assert not door.arrive(ahead_s=0.75 * BOUND_S)
    assert door.arrive(ahead_s=0.7 * BOUND_S)
    for _ in range(1000):
        door.arrive(ahead_s=0.7 * BOUND_S)
    assert door.arrive(ahead_s=0.99 * BOUND_S)


def test_where_nothing_waits_everybody_may_come() -> None:
    door = Door()
    assert not door.arrive(ahead_s=100.0)
    assert door.arrive(ahead_s=100.0, waiting=0)


@given(st.lists(st.tuples(st.floats(0, 2 * BOUND_S), st.floats(0, 2))))
def test_less_than_a_third_of_the_bound_never_waits_for_room_and_more_than_all_of_it_always(
    arrivals: list[tuple[float, float]],
) -> None:
    door = Door()
    for ahead_s, after_s in arrivals:
        joined = door.arrive(ahead_s=ahead_s, after_s=after_s)
        assert joined or ahead_s > BOUND_S / 3
        assert not joined or ahead_s <= BOUND_S


def test_a_refusal_says_which_bound_and_when_to_come_again() -> None:
    told = r"2\.5 s, the bound is 2 s now \(max_queue_wait_s\); come again in 2\.5 s"
    with pytest.raises(QueueFull, match=told):
        Door().admission.check_room(items=1, tokens=1, waiting=1, waiting_tokens=1, ahead_s=2.5, now=0)
