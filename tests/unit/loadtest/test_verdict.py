"""Tests of the verdict's error rates on services of known quality, in seeded runs of the real code."""

from dataclasses import replace

import pytest

from benchmarks.slo_verdict import LOADS, ServiceScenario, passed, verdict_of

RUNS = 60


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_a_service_that_answers_everything_in_time_passes(load: dict[str, object]) -> None:
    assert passed(replace(ServiceScenario("perfect"), **load), RUNS) == RUNS


@pytest.mark.parametrize("load", LOADS, ids=str)
@pytest.mark.parametrize(
    "world",
    [
        ServiceScenario("loses 2 %", lost=0.02),
        ServiceScenario("late", late=0.12),
        ServiceScenario("falls behind", capacity=420),
    ],
    ids=lambda world: world.name,
)
def test_a_service_that_loses_is_late_or_falls_behind_fails(
    world: ServiceScenario, load: dict[str, object]
) -> None:
    # 20 s at 480 per minute are 160 requests: with a loss of 2 %, one window in 25 has no loss.
    assert passed(replace(world, **load), RUNS) <= RUNS // 10


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_a_load_generator_that_saturates_is_named_and_shows_nothing(load: dict[str, object]) -> None:
    verdicts = [
        verdict_of(replace(ServiceScenario("saturated", unsent=0.3), **load), seed) for seed in range(RUNS)
    ]
    assert all(any("load generator" in warning for warning in verdict.warnings) for verdict in verdicts)
    assert not any(verdict.passed for verdict in verdicts)


def test_a_load_generator_that_keeps_its_schedule_is_not_named() -> None:
    assert not any(verdict_of(ServiceScenario("perfect"), seed).warnings for seed in range(RUNS))
