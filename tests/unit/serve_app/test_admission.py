"""Who may join the queue when most may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.admission import Admission, BatchLimits
from serve_app.errors import QueueFull

BOUND_S = 2.0


def make() -> Admission:
    return Admission(BatchLimits(max_queue_wait_s=BOUND_S))


def arrive(admission: Admission, *, ahead_s: float, waiting: int = 10) -> bool:
    """A request comes; whether it joined."""
    try:
        admission.check_room(items=1, tokens=10, waiting=waiting, waiting_tokens=100, ahead_s=ahead_s)
    except QueueFull as refusal:
        assert refusal.retry_after_s == ahead_s
        return False
    admission.joined()
    return True


def test_the_whole_bound_is_there_for_a_burst() -> None:
    admission = make()
    assert all(arrive(admission, ahead_s=BOUND_S) for _ in range(500))
    assert not arrive(admission, ahead_s=BOUND_S + 0.01)


def test_in_a_flood_the_queue_is_a_quarter_shorter_and_afterwards_as_long_as_before() -> None:
    admission = make()
    for _ in range(1000):
        arrive(admission, ahead_s=BOUND_S + 1)
    assert not arrive(admission, ahead_s=0.8 * BOUND_S)
    assert arrive(admission, ahead_s=0.75 * BOUND_S)
    for _ in range(1000):
        arrive(admission, ahead_s=0.1)
    assert arrive(admission, ahead_s=0.99 * BOUND_S)


def test_where_nothing_waits_everybody_may_come() -> None:
    admission = make()
    assert not arrive(admission, ahead_s=100.0)
    assert arrive(admission, ahead_s=100.0, waiting=0)


@given(st.lists(st.floats(0, 2 * BOUND_S)))
def test_a_refusal_tells_the_bound_that_it_applied(waits_s: list[float]) -> None:
    admission = make()
    for ahead_s in waits_s:
        bound_s = admission.max_wait_s
        assert 0.75 * BOUND_S <= bound_s <= BOUND_S
        assert arrive(admission, ahead_s=ahead_s) == (ahead_s <= bound_s)


def test_a_refusal_says_which_bound_and_when_to_come_again() -> None:
    told = r"2\.5 s, the bound is 2 s now \(max_queue_wait_s\); come again in 2\.5 s"
    with pytest.raises(QueueFull, match=told):
        make().check_room(items=1, tokens=1, waiting=1, waiting_tokens=1, ahead_s=2.5)
