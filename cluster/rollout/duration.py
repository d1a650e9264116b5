"""Duration of the stages at the observed request rate, and a plan adapted to little traffic.

Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from cluster.rollout.errors import RolloutPlanError
from cluster.rollout.plan import CanaryPods, RolloutPlan
from cluster.rollout.power import SimulatedTraffic, scenarios, simulate

_FITS_FRACTION = 0.8
"""Used part of the requests expected in `max_stage_s`: the observed rate is uncertain, and traffic varies."""
_MIN_REQUESTS = 50
"""Minimum adapted sample; a smaller one detects only differences that are obvious without a test."""
_SIMULATED = 100
_SHOWN = (("5xx", 0.02), ("5xx", 0.05), ("label", 0.75))
"""Differences for which the loss of power is reported: kind of test, and the canary's share."""


class LittleTraffic(StrEnum):
    """Reaction if a stage would not get its sample within `max_stage_s`."""

    REFUSE = "refuse"
    ADAPT = "adapt"
    """Use a smaller sample."""
    IGNORE = "ignore"


def fitted(
    plan: RolloutPlan, steps: Sequence[CanaryPods], replicas: int, rate: float, little: LittleTraffic
) -> tuple[RolloutPlan, str]:
    """Return the plan to use and a message about its duration.

    Args:
        plan: plan as given.
        steps: stages of the plan, in pods.
        replicas: pods during the rollout.
        rate: answered requests per second, of all pods.
        little: reaction if a stage takes longer than `max_stage_s`.

    Raises:
        RolloutPlanError: a stage takes longer than `max_stage_s`, and the plan may not or cannot be adapted.
    """
    shares = [_sampled_pods(step, replicas) / replicas for step in steps]
    needed_s = [_needed_s(plan, rate * share) for share in shares]
    times = ", ".join(
        f"{_minutes(seconds)} on {_pods(step)}" for seconds, step in zip(needed_s, steps, strict=True)
    )
    durations = f"at the observed {rate / replicas:.2f} answered requests/s per pod the stages take {times}"
    if max(needed_s) <= plan.max_stage_s or little is LittleTraffic.IGNORE:
        return plan, durations
    longest_s = plan.max_stage_s - plan.settle_s
    max_requests = math.floor(_FITS_FRACTION * min(shares) * rate * longest_s)
    fault = f"{durations}; expected at most {plan.max_stage_s:.0f} s (max_stage_s)"
    if little is LittleTraffic.ADAPT and max_requests >= _MIN_REQUESTS:
        smaller = plan.model_copy(update={"min_requests": max_requests})
        return smaller, f"{fault}; min_requests is lowered: {_loss(plan, smaller, rate, min(shares))}"
    ways = [f"raise max_stage_s to {1.25 * max(needed_s):.0f}"] if rate else []
    ways += ["use --little-traffic adapt (a smaller sample)"] if max_requests >= _MIN_REQUESTS else []
    ways += ["start when there is more traffic", "use --little-traffic ignore and `rollout promote`"]
    raise RolloutPlanError(f"{fault}: no stage would be decided; {', or '.join(ways)}")


def _sampled_pods(step: CanaryPods, replicas: int) -> int:
    """Return the number of pods of the version with fewer requests, which limits the sample."""
    return step.pods if step.shadow else min(step.pods, replicas - step.pods)


def _needed_s(plan: RolloutPlan, rate: float) -> float:
    sample_s = plan.min_requests / rate if rate else math.inf
    return plan.settle_s + max(sample_s, plan.min_windows * plan.window_s)


def _loss(plan: RolloutPlan, smaller: RolloutPlan, rate: float, share: float) -> str:
    """Describe how many more faulty canaries pass with the smaller sample, by simulation of both plans."""
    losses = []
    for scenario in scenarios(plan):
        if (scenario.name, scenario.canary) not in _SHOWN or scenario.texts != 1:
            continue
        goes_on = []
        for each in (plan, smaller):
            stage_s = max(_needed_s(each, rate * share), each.max_stage_s)
            window = rate * each.window_s
            traffic = SimulatedTraffic(
                math.ceil(stage_s / each.window_s), share * window, (1 - share) * window
            )
            goes_on.append(simulate(scenario, traffic, each, rollouts=_SIMULATED, seed=1).goes_on)
        what = f"{scenario.canary:.0%} {scenario.name} (champion: {scenario.champion:.1%})"
        losses.append(
            f"{what} passes the first stage in {goes_on[1]:.0%} of rollouts instead of {goes_on[0]:.0%}"
        )
    return (
        f"with {smaller.min_requests} instead of {plan.min_requests}, a canary with {'; with '.join(losses)}"
    )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if math.isfinite(seconds) else "forever"


def _pods(step: CanaryPods) -> str:
    return f"{step.pods} pod{'s' * (step.pods > 1)}"
