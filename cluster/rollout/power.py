"""Error rates of the tests, from simulated rollouts whose canary is equally good or worse.

A simulated rollout has a number of windows of traffic and one test of the plan. The functions that `decision`
uses also decide here whether it is rolled back, for all rollouts at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.rollout.analysis import TESTS
from cluster.rollout.e_process import Array, differs, worse
from cluster.rollout.plan import RolloutPlan

Test = Callable[[Array, Array, Array, Array, float], Array]


@dataclass(frozen=True, slots=True)
class SimulationScenario:
    """Conditions of one simulated test.

    Attributes:
        name: name in the table.
        test: `worse` or `differs`.
        champion: share of hits.
        canary: share of hits.
        tolerance: tolerance of the plan.
        texts: texts per request.
        likeness: alpha + beta of the beta distribution from which each request draws the probability that its
            texts are hits, with the share of hits as its mean; None if all requests have the same
            probability.
    """

    name: str
    test: Test
    champion: float
    canary: float
    tolerance: float
    texts: int = 1
    likeness: float | None = None


@dataclass(frozen=True, slots=True)
class SimulatedTraffic:
    """Requests in a window.

    Attributes:
        windows: windows of a rollout.
        canary: mean number of requests to the canary in a window (Poisson).
        champion: mean number of requests to the champion in a window (Poisson).
    """

    windows: int = 40
    canary: float = 150.0
    champion: float = 450.0


@dataclass(frozen=True, slots=True)
class RolloutStatistics:
    """Statistics of many rollouts of one scenario.

    Attributes:
        rolled_back: share of rollouts that are rolled back if they are observed to the last window.
        goes_on: share of rollouts that pass the first stage before that.
        median_requests: requests to the canary until half of all rollouts were rolled back; None if fewer
            were.
        most_requests: the same for nine tenths.
    """

    rolled_back: float
    goes_on: float
    median_requests: float | None
    most_requests: float | None


def simulate(
    scenario: SimulationScenario, traffic: SimulatedTraffic, plan: RolloutPlan, *, rollouts: int, seed: int
) -> RolloutStatistics:
    """Run many rollouts of a scenario, each to its last window."""
    rng = np.random.default_rng(seed)
    shape = (rollouts, traffic.windows)
    a_trials = rng.poisson(traffic.champion, shape).astype(float)
    b_trials = rng.poisson(traffic.canary, shape).astype(float)
    a_hits = _hits(rng, scenario, scenario.champion, a_trials)
    b_hits = _hits(rng, scenario, scenario.canary, b_trials)
    evidence = scenario.test(a_hits, a_trials, b_hits, b_trials, scenario.tolerance)
    alarms = evidence >= math.log(len(TESTS) / plan.false_rollback_share)
    first = np.where(alarms.any(axis=1), alarms.argmax(axis=1), traffic.windows)
    passed = _passes(scenario, plan, a_hits, a_trials, b_hits, b_trials)
    goes_on = np.where(passed.any(axis=1), passed.argmax(axis=1), traffic.windows) < first
    seen = np.concatenate([b_trials.cumsum(axis=1), np.full((rollouts, 1), np.inf)], axis=1)
    requests = np.sort(seen[np.arange(rollouts), first])
    return RolloutStatistics(
        rolled_back=float(alarms.any(axis=1).mean()),
        goes_on=float(goes_on.mean()),
        median_requests=_finite(requests[math.ceil(0.5 * rollouts) - 1]),
        most_requests=_finite(requests[math.ceil(0.9 * rollouts) - 1]),
    )


def scenarios(plan: RolloutPlan) -> tuple[SimulationScenario, ...]:
    """Return scenarios with relevant differences, and without any, for each kind of test."""
    t = plan.tolerances
    errors = [
        SimulationScenario("5xx", worse, 0.001, canary, t.error_share)
        for canary in (0.001, 0.006, 0.01, 0.02, 0.05, 0.2)
    ]
    slow = [
        SimulationScenario("slow", worse, 0.02, canary, t.latency_share)
        for canary in (0.02, 0.07, 0.1, 0.2, 0.5, 0.95)
    ]
    labels = [
        SimulationScenario("label", differs, 0.5, canary, t.label_share)
        for canary in (0.5, 0.6, 0.65, 0.75, 1.0)
    ]
    alike = [
        SimulationScenario("label", differs, 0.5, canary, t.label_share, texts, likeness)
        for texts in (16, 64)
        for likeness in (4.0, 1.0)  # beta(2, 2) and beta(0.5, 0.5) if the mean is a half
        for canary in (0.5, 0.6, 0.65, 0.75)
    ]
    return (*errors, *slow, *labels, *alike)


def power(plan: RolloutPlan, traffic: SimulatedTraffic, *, rollouts: int, seed: int) -> str:
    """Return the table of `rollout power`.

    "goes on" is the share of rollouts that pass the first stage. "rolled back" is the share that are rolled
    back if the first stage is observed to the end regardless of the sample. The last two columns are the
    numbers of requests to the canary after which half and nine tenths of the rollouts are rolled back.
    """
    head = [
        "share of",
        "texts",
        "between",
        "champion",
        "canary",
        "tolerance",
        "goes on",
        "rolled back",
        "median",
        "nine tenths",
    ]
    rows = [tuple(head)]
    for scenario in scenarios(plan):
        outcome = simulate(scenario, traffic, plan, rollouts=rollouts, seed=seed)
        rows.append(
            (
                scenario.name,
                f"{scenario.texts}",
                "-" if scenario.likeness is None else f"beta, {scenario.likeness:g}",
                f"{scenario.champion:.1%}",
                f"{scenario.canary:.1%}",
                f"+{scenario.tolerance:.1%}",
                f"{outcome.goes_on:.1%}",
                f"{outcome.rolled_back:.1%}",
                _requests(outcome.median_requests),
                _requests(outcome.most_requests),
            )
        )
    return "\n".join("".join(f"{cell:>12}" for cell in row) for row in rows)


def _hits(rng: np.random.Generator, scenario: SimulationScenario, share: float, trials: Array) -> Array:
    """Return the sums of the requests' shares of hits: (rollouts, windows)."""
    if scenario.texts == 1:  # regardless of how requests differ, each is a hit with this probability
        return rng.binomial(trials.astype(int), share).astype(float)
    hits = np.empty_like(trials)
    for rollout, requests in enumerate(trials.astype(int)):  # one at a time, to hold one rollout in memory
        window = np.repeat(np.arange(len(requests)), requests)
        like = scenario.likeness
        chance = share if like is None else rng.beta(like * share, like * (1 - share), len(window))
        shares = rng.binomial(scenario.texts, chance, len(window)) / scenario.texts
        hits[rollout] = np.bincount(window, shares, len(requests))
    return hits


def _passes(
    scenario: SimulationScenario,
    plan: RolloutPlan,
    a_hits: Array,
    a_trials: Array,
    b_hits: Array,
    b_trials: Array,
) -> npt.NDArray[np.bool_]:
    """Return (rollouts, windows): whether the sample is complete and no share exceeds its tolerance."""
    a_all, b_all = a_trials.cumsum(axis=1), b_trials.cumsum(axis=1)
    gap = b_hits.cumsum(axis=1) / np.maximum(b_all, 1) - a_hits.cumsum(axis=1) / np.maximum(a_all, 1)
    if scenario.test is differs:
        gap = np.abs(gap)
    enough = np.minimum(a_all, b_all) >= plan.min_requests
    return np.asarray(
        enough & ((b_trials > 0).cumsum(axis=1) >= plan.min_windows) & (gap <= scenario.tolerance)
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _requests(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} req"


def within(plan: RolloutPlan) -> Sequence[SimulationScenario]:
    """Return the scenarios in which the canary equals the champion, or is just within the tolerance."""
    near = 1e-9
    return [s for s in scenarios(plan) if s.canary <= s.champion + s.tolerance + near]
