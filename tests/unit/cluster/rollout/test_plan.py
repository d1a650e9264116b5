"""Tests of the plan: stages in pods, and the contents of a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.rollout.errors import RolloutPlanError
from cluster.rollout.plan import CanaryPods, PlannedStage, RolloutPlan, read_plan, steps

ONE, HALF = CanaryPods(1, shadow=False), CanaryPods(2, shadow=False)


@pytest.mark.parametrize(
    ("replicas", "expected"),
    [(2, (ONE,)), (3, (ONE,)), (4, (ONE, HALF)), (9, (ONE, CanaryPods(4, shadow=False)))],
)
def test_stages_that_change_nothing_are_left_out(replicas: int, expected: tuple[CanaryPods, ...]) -> None:
    assert steps(RolloutPlan(), replicas) == expected


def test_one_pod_stays_the_champions() -> None:
    plan = RolloutPlan(
        stages=(PlannedStage(pods=1, shadow=True), PlannedStage(pods=1), PlannedStage(pods=50))
    )
    assert steps(plan, 4) == (CanaryPods(1, shadow=True), ONE, CanaryPods(3, shadow=False))
    with pytest.raises(RolloutPlanError, match="1 replica"):
        steps(plan, 1)


def test_a_file_says_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'stages = [{ pods = 1, shadow = true }, { pods = "half" }]\n[tolerances]\nerror_share = 0.02\n'
    )
    plan = read_plan(path)
    assert plan.stages == (PlannedStage(pods=1, shadow=True), PlannedStage(pods="half"))
    assert plan.tolerances.error_share == 0.02
    assert plan.min_requests == RolloutPlan().min_requests
    assert read_plan(None) == RolloutPlan()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = []", "stages"),
        ("stages = [{ pods = 0 }]", "pods"),
        ('stages = [{ pods = "most" }]', "pods"),
        ("windows = 3", "windows"),
        ("[tolerances]\nerrors = 1", "tolerances.errors"),
        ("min_requests = ", "not TOML"),
        (None, "check the path"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "plan.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RolloutPlanError, match=message):
        read_plan(path)
