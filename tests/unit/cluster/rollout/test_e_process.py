"""Tests of the e-processes: their expected value by enumeration, their error rates by simulation."""

from __future__ import annotations

import itertools
from math import comb, exp, log

import numpy as np
import pytest

from cluster.rollout.analysis import TESTS
from cluster.rollout.e_process import Array, above, differs, mixture, worse
from cluster.rollout.plan import RolloutPlan
from cluster.rollout.power import (
    SimulatedTraffic,
    SimulationScenario,
    Test,
    power,
    scenarios,
    simulate,
    within,
)

EARLIER = (3, 40, 2, 12)
"""Hits and trials of champion and canary in the previous window, from which the bet is derived."""


def binomial(hits: int, trials: int, share: float) -> float:
    return comb(trials, hits) * share**hits * (1 - share) ** (trials - hits)


def two_windows(a_hits: float, a_trials: int, b_hits: float, b_trials: int) -> tuple[Array, ...]:
    rows = np.array([EARLIER, (a_hits, a_trials, b_hits, b_trials)], dtype=float).T
    return tuple(rows)


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.3])
@pytest.mark.parametrize(("test", "sides"), [(worse, (1,)), (differs, (1, -1))])
@pytest.mark.parametrize("trials", [(1, 1), (7, 3), (2, 9)])
def test_a_bet_on_a_canary_within_the_tolerance_gains_nothing_on_average(
    test: Test, sides: tuple[int, ...], tolerance: float, trials: tuple[int, int]
) -> None:
    """The mean covers every possible window, at and inside the edge of the hypothesis, for several shares."""
    na, nb = trials
    stakes = {}
    for a_hits, b_hits in itertools.product(range(na + 1), range(nb + 1)):
        evidence = test(*two_windows(a_hits, na, b_hits, nb), tolerance)
        stakes[a_hits, b_hits] = exp(evidence[1] - evidence[0])
    assert max(stakes.values()) > 1, "it bets"
    for share, side, part in itertools.product((0.02, 0.1, 0.35, 0.6), sides, (1.0, 0.5, 0.0)):
        other = share + side * part * tolerance
        if 0 < other < 1:
            mean = sum(
                binomial(a_hits, na, share) * binomial(b_hits, nb, other) * stake
                for (a_hits, b_hits), stake in stakes.items()
            )
            assert mean <= 1 + 1e-9


OUTCOMES = {
    "like texts": ((0.0, 1.0), (0.6, 0.4)),
    "half and half": ((0.0, 0.5, 1.0), (0.45, 0.3, 0.25)),
    "much the same": ((0.3, 0.5), (0.5, 0.5)),
    "skewed": ((0.0, 0.1, 0.9), (0.2, 0.45, 0.35)),
}


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
@pytest.mark.parametrize(("test", "sides"), [(worse, (1,)), (differs, (1, -1))])
@pytest.mark.parametrize("outcomes", OUTCOMES.values(), ids=OUTCOMES)
def test_a_bet_on_requests_that_are_shares_gains_nothing_on_average(
    test: Test,
    sides: tuple[int, ...],
    tolerance: float,
    outcomes: tuple[tuple[float, ...], tuple[float, ...]],
) -> None:
    """The outcome of a request is the share of its texts with a label; the canary's shares are shifted."""
    values, chances = outcomes
    for side, part in itertools.product(sides, (1.0, 0.0)):
        shifted = [value + side * part * tolerance for value in values]
        if min(shifted) < 0 or max(shifted) > 1:  # a shift beyond 0 or 1 becomes a mixture with 0 or 1
            shifted, mixed = [*values, (1.0 if side > 0 else 0.0)], part * tolerance
            mean = sum(v * c for v, c in zip(values, chances, strict=True))
            weight = mixed / (1 - mean if side > 0 else mean)
            other = [*(c * (1 - weight) for c in chances), weight]
        else:
            other = list(chances)
        expected = 0.0
        for a in itertools.product(range(len(values)), repeat=2):
            for b in itertools.product(range(len(shifted)), repeat=3):
                likely = float(np.prod([chances[i] for i in a]) * np.prod([other[i] for i in b]))
                hits = sum(values[i] for i in a), sum(shifted[i] for i in b)
                evidence = test(*two_windows(hits[0], 2, hits[1], 3), tolerance)
                expected += likely * exp(evidence[1] - evidence[0])
        assert expected <= 1 + 1e-9


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_a_bet_against_a_limit_gains_nothing_on_average(share: float) -> None:
    stakes = [exp(above(np.array([float(hits)]), np.array([9.0]), 0.1)[0]) for hits in range(10)]
    assert sum(binomial(hits, 9, share) * stake for hits, stake in enumerate(stakes)) <= 1 + 1e-9
    assert stakes[9] > 10


def test_a_mixture_is_of_the_stakes_not_of_their_logarithms() -> None:
    assert mixture([log(2.0), log(4.0)], [0.5, 0.5]) == pytest.approx(log(3.0))
    assert mixture([log(6.0)], [0.25]) == pytest.approx(log(2.25)), "what is not laid stays"


def test_more_hits_of_the_canary_are_more_evidence_and_of_the_champion_less() -> None:
    def last(a_hits: int, b_hits: int) -> float:
        return float(worse(*two_windows(a_hits, 100, b_hits, 50), 0.05)[-1])

    canary = [last(5, hits) for hits in (2, 10, 25, 50)]
    assert canary == sorted(canary) and canary[-1] > 10 > canary[0]
    assert last(5, 25) > last(20, 25) > last(60, 25)


def test_without_champion_there_is_no_evidence() -> None:
    nothing = worse(
        *(np.array([0.0, 0.0]), np.array([0.0, 0.0]), np.array([9.0, 9.0]), np.array([9.0, 9.0])), 0.1
    )
    assert nothing == pytest.approx([0.0, 0.0], abs=1e-9)


def test_rollouts_of_canaries_within_the_tolerance_are_rolled_back_less_often_than_stated() -> None:
    """Each rollout lasts ten minutes, evaluated every 15 s, with identical versions or at the tolerance."""
    plan = RolloutPlan()
    outcomes = {s: simulate(s, SimulatedTraffic(), plan, rollouts=1000, seed=11) for s in within(plan)}
    identical = [outcome for s, outcome in outcomes.items() if s.canary == s.champion]
    # The sum is an upper bound: it assumes that the tests of a rollout never alarm together.
    assert sum(outcome.rolled_back for outcome in identical) < plan.false_rollback_share
    assert min(outcome.goes_on for outcome in identical) > 1 - plan.false_rollback_share
    assert (
        max(outcome.rolled_back for outcome in outcomes.values())
        < plan.false_rollback_share / len(TESTS) + 0.002
    )


@pytest.mark.parametrize("between", [(2.0, 2.0), (0.5, 0.5)])
@pytest.mark.parametrize("texts", [1, 16, 64])
@pytest.mark.parametrize("requests", [6.0, 150.0])
def test_identical_versions_whose_requests_hold_like_texts_are_not_rolled_back(
    between: tuple[float, float], texts: int, requests: float
) -> None:
    """All texts of a request have a label with a probability of the request, drawn from beta(between)."""
    plan, tolerance = RolloutPlan(), RolloutPlan().tolerances.label_share
    scenario = SimulationScenario("label", differs, 0.5, 0.5, tolerance, texts, sum(between))
    traffic = SimulatedTraffic(windows=40, canary=requests, champion=requests)
    assert simulate(scenario, traffic, plan, rollouts=300, seed=17).rolled_back < plan.false_rollback_share


def test_what_matters_is_found_within_a_minute_of_one_pods_requests() -> None:
    plan, traffic = RolloutPlan(), SimulatedTraffic()
    for scenario in (
        SimulationScenario("every fifth fails", worse, 0.001, 0.2, plan.tolerances.error_share),
        SimulationScenario("five times slower", worse, 0.02, 0.95, plan.tolerances.latency_share),
        SimulationScenario("one label", differs, 0.5, 1.0, plan.tolerances.label_share),
    ):
        outcome = simulate(scenario, traffic, plan, rollouts=200, seed=5)
        assert outcome.rolled_back == 1
        assert outcome.most_requests is not None and outcome.most_requests <= 600


def test_a_version_that_turns_bad_late_is_found_too() -> None:
    good, bad = np.full(200, 1.0), np.full(5, 60.0)
    b_hits, b_trials = np.concatenate([good, bad]), np.full(205, 150.0)
    evidence = worse(np.full(205, 3.0), np.full(205, 450.0), b_hits, b_trials, 0.005)
    assert evidence[199] < 1 and evidence[-1] > np.log(len(TESTS) / RolloutPlan().false_rollback_share)


def test_the_table_has_a_line_for_each_scenario() -> None:
    lines = power(RolloutPlan(), SimulatedTraffic(windows=3), rollouts=20, seed=1).splitlines()
    assert len(lines) == 1 + len(scenarios(RolloutPlan()))
