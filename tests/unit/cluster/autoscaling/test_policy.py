"""Tests of the policy in a simulated service: it follows the load up and down without oscillation."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.autoscaling.config import PolicyConfig
from tests.unit.cluster.autoscaling.service import Service

AIMS = {"down_window_s": 120}
POD = PolicyConfig().requests_per_minute / 60
"""Requests per second of one pod in the SLO."""


def turns(targets: list[int]) -> int:
    """Return how often the number of pods changed between rising and falling."""
    moves = [later - earlier for earlier, later in itertools.pairwise(targets) if later != earlier]
    return sum(earlier * later < 0 for earlier, later in itertools.pairwise(moves))


def test_one_pod_to_four_and_back_without_turning() -> None:
    service = Service(AIMS)
    assert set(service.run([0.8 * POD] * 120)) == {1}
    up = service.run([4 * POD] * 180)
    assert up[-1] == 4 and max(up) == 4
    down = service.run([0.8 * POD] * 400)
    assert down[-1] == 1
    assert turns(service.targets) == 1
    assert not any(replica.refused for replica in service.replicas)


@given(st.integers(0, 10_000), st.floats(0.5, 8))
@settings(max_examples=4)
def test_a_noisy_but_steady_load_leaves_the_pods_alone(seed: int, pods: float) -> None:
    chance = random.Random(seed)
    service = Service(AIMS)
    service.run([pods * POD] * 300)
    settled = service.target
    noisy = [sum(chance.random() < 0.5 for _ in range(round(2 * pods * POD))) for _ in range(600)]
    seen = service.run(noisy)
    assert abs(settled - max(seen)) <= 1 and turns(seen) == 0
    assert settled >= pods / (1 + PolicyConfig().tolerance)


def test_a_slow_device_counts_for_what_it_measures() -> None:
    slow = Service(AIMS, capacity=200.0)  # 5 requests per second, half of the SLO
    seen = slow.run([4 * POD] * 600)
    assert seen[-1] == 10, "40 a second at 0.7 x 5 a pod need 11.4, the bound is 10"
    roomy = Service(AIMS, capacity=200.0, most=20)
    assert roomy.run([4 * POD] * 900)[-1] in (11, 12)
    assert turns(roomy.targets) == 0


def test_what_a_full_queue_refuses_counts_as_load() -> None:
    service = Service({**AIMS, "requests_per_minute": 60_000}, capacity=400.0)  # 10 requests per second
    service.run([60.0] * 90)
    assert service.replicas[0].refused > 0
    service.run([60.0] * 300)
    assert service.target in (8, 9), "60 a second at 0.7 x 10 a pod, within a tenth"


def test_a_long_queue_asks_for_more_than_the_rate_does() -> None:
    tight = {**AIMS, "requests_per_minute": 60_000, "capacity_fraction": 1.0, "drain_s": 5}
    service = Service(tight, capacity=400.0)
    service.run([9.0] * 120)
    assert service.target == 1
    service.replicas[0].ahead = 400.0 * 1.0  # one second of work
    service.run([9.9] * 60)
    assert service.target == 2, "9.9 a second are within one pod's 10, but its queue would stay"


def test_before_any_report_nothing_moves() -> None:
    service = Service(AIMS, least=3)
    assert set(service.run([100.0] * 5)) == {3}


@given(
    st.lists(st.tuples(st.floats(0, 12), st.integers(1, 200)), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(0, 6),
)
@settings(max_examples=8)
def test_bounds_hold_for_any_load(phases: list[tuple[float, int]], least: int, spread: int) -> None:
    service = Service(AIMS, least=least, most=least + spread)
    for pods, seconds in phases:
        assert all(least <= now <= least + spread for now in service.run([pods * POD] * seconds))


@pytest.mark.parametrize(("name", "value"), [("requests_per_min", 600), ("tolerance", 1), ("drain_s", 0)])
def test_an_unknown_or_senseless_aim_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        Service({name: value})
