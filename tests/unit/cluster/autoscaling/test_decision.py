"""Tests of the step from the needed capacity to the number of pods, with properties for any load curve."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.autoscaling.config import PolicyConfig
from cluster.autoscaling.decision import PolicyState, ReplicaBounds, decide, recommend

AIMS = PolicyConfig(tolerance=0.1, up_window_s=10, down_window_s=60, step_s=5, up_step_fraction=1.0)
WIDE = ReplicaBounds(1, 100)


def course(
    needs: Iterable[float], pods: int = 1, bounds: ReplicaBounds = WIDE, aims: PolicyConfig = AIMS
) -> list[int]:
    """Return the number of pods after each second, for one value of the needed pods per second."""
    state, seen = PolicyState(), []
    for second, needed in enumerate(needs):
        pods, state = decide(needed, pods, bounds, aims, state, float(second))
        seen.append(pods)
    return seen


@pytest.mark.parametrize(
    ("needed", "pods", "expected"),
    [
        (4.0, 4, 4),
        (4.39, 4, 4),  # within the tolerance of a tenth above the capacity of four
        (4.5, 4, 5),
        (3.0, 4, 4),  # three pods would run at their limit
        (2.7, 4, 3),
        (0.0, 4, 0),
        (8.0, 1, 8),
    ],
)
def test_the_tolerance_is_a_dead_band_around_the_present_number(
    needed: float, pods: int, expected: int
) -> None:
    assert recommend(needed, pods, 0.1) == expected


@given(st.floats(0, 1000), st.floats(0, 0.5))
def test_a_recommendation_is_kept_once_followed(needed: float, tolerance: float) -> None:
    for pods in range(1, 60):
        followed = recommend(needed, pods, tolerance)
        assert recommend(needed, followed, tolerance) == followed


def test_a_burst_shorter_than_the_window_adds_nothing() -> None:
    assert set(course([1.0] * 20 + [4.0] * 9 + [1.0] * 20)) == {1}


def test_a_dip_shorter_than_the_window_takes_nothing_away() -> None:
    assert set(course([4.0] * 70 + [1.0] * 59 + [4.0] * 20, pods=4)) == {4}


def test_pods_come_by_steps_and_go_by_steps() -> None:
    seen = course([8.0] * 40 + [0.5] * 120)
    assert [seen[second] for second in (9, 11, 16, 21)] == [1, 2, 4, 8]
    down = seen[40:]
    assert [pods for number, pods in enumerate(down) if pods != ([8, *down])[number]] == [4, 2, 1]
    assert down.index(4) == 60, "not before the window has passed"


def test_at_first_the_present_number_counts_as_recommended() -> None:
    assert course([1.0], pods=8) == [8], "a controller that starts anew must not take pods away at once"
    assert course([8.0], pods=1) == [1]


@given(
    needs=st.lists(st.floats(0, 50), min_size=1, max_size=300),
    pods=st.integers(1, 50),
    least=st.integers(1, 10),
    spread=st.integers(0, 20),
)
def test_bounds_windows_and_steps_hold_for_any_course(
    needs: list[float], pods: int, least: int, spread: int
) -> None:
    bounds = ReplicaBounds(least, least + spread)
    start = bounds.hold(pods)
    seen = course(needs, start, bounds)
    changed = [second for second, now in enumerate(seen) if now != [start, *seen][second]]
    assert all(bounds.least <= now <= bounds.most for now in seen)
    assert all(later - earlier >= AIMS.step_s for earlier, later in itertools.pairwise(changed))
    for second in changed:
        before, now = [start, *seen][second], seen[second]
        if now > before:
            lowest = min(needs[max(0, second - int(AIMS.up_window_s)) : second + 1])
            assert now <= max(2 * before, before + 1) and now <= bounds.hold(int(lowest) + 1)
        else:
            highest = max(needs[max(0, second - int(AIMS.down_window_s)) : second + 1])
            assert now >= before // 2 and now >= bounds.hold(int(highest / (1 + AIMS.tolerance)))


@given(st.lists(st.floats(0, 1000), min_size=50, max_size=400), st.integers(1, 20))
@settings(max_examples=20)
def test_what_is_remembered_is_bounded_by_the_number_of_pods(needs: list[float], most: int) -> None:
    state, pods, bounds = PolicyState(), 1, ReplicaBounds(1, most)
    for second, needed in enumerate(needs):
        pods, state = decide(needed, pods, bounds, AIMS, state, second / 100)
        assert max(len(state.lows), len(state.highs)) <= most


@given(st.floats(0.1, 40), st.integers(1, 50))
def test_a_steady_load_is_reached_and_then_nothing_moves(needed: float, pods: int) -> None:
    seen = course([needed] * 400, pods)
    settled = seen[-1]
    assert needed <= settled * (1 + AIMS.tolerance) + 1e-6
    assert needed * (1 + AIMS.tolerance) > settled - 1 or settled == 1
    first = seen.index(settled)
    assert set(seen[first:]) == {settled}, "once there, it stays"
    assert seen[:first] == sorted(seen[:first], reverse=settled < pods), "straight, without turning"


def test_bounds_that_move_are_followed_at_once() -> None:
    pods, _ = decide(4.0, 4, ReplicaBounds(1, 2), AIMS, PolicyState(), 0.0)
    assert pods == 2
    pods, _ = decide(1.0, 1, ReplicaBounds(3, 9), AIMS, PolicyState(), 0.0)
    assert pods == 3
