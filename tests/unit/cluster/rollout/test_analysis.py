"""Tests of the decision: immediate rollback, rollback on evidence or at the time limit, and promotion."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from math import exp, log, prod
from typing import Any

import pytest

from cluster.rollout.analysis import TESTS, CanaryVerdict, Decision, decide, judge
from cluster.rollout.metric_window import BOUNDARIES_MS, Counts, MetricWindow, ModelLoadFailure, p95_ms
from cluster.rollout.plan import RolloutPlan, Tolerances

PLAN = RolloutPlan(min_requests=300, min_windows=3, max_stage_s=600)


def latency(requests: int, ms: int) -> tuple[int, ...]:
    return tuple(requests if end == ms else 0 for end in (*BOUNDARIES_MS, None))


def counts(requests: int = 150, **changes: Any) -> Counts:
    usual = Counts(
        requests=requests,
        latency=latency(requests, 50),
        label_shares={"NEGATIVE": requests / 2, "POSITIVE": requests / 2},
        score_shares=(0, 0, 0, 0, 0, requests / 4, 0, 0, 0, 3 * requests / 4),
    )
    return replace(usual, **changes)


def window(canary: Counts | None = None, champion: Counts | None = None, **changes: Any) -> MetricWindow:
    usual = MetricWindow(0, 15.0, champion or counts(450), canary or counts(), versions=("1", "2"))
    return replace(usual, **changes)


def decided(
    windows: list[MetricWindow], *, stage: int = 0, shadow: bool = False, stage_s: float = 60.0
) -> Decision:
    return decide(windows, stage=stage, shadow=shadow, canary_uri="new", plan=PLAN, stage_s=stage_s)


def test_nothing_yet_goes_on() -> None:
    assert decided([]).verdict is CanaryVerdict.CONTINUE


def test_a_like_canary_is_promoted_once_the_sample_is_complete() -> None:
    verdicts = [decided([window()] * number).verdict for number in (1, 2, 3)]
    assert verdicts == [CanaryVerdict.CONTINUE, CanaryVerdict.CONTINUE, CanaryVerdict.PROMOTE]
    assert decided([window(counts(99))] * 3).reason == "297 of 300 answered requests of each version"
    assert decided([window()] * 2).reason == "2 of 3 windows with answered requests of each version"


def test_a_version_that_the_metrics_do_not_name_is_told() -> None:
    reason = decided([window(champion=Counts(), versions=(None, "2"))]).reason
    assert reason == "0 of 300 answered requests of each version; the metrics have no version of the champion"


def test_each_stage_has_a_sample_of_its_own() -> None:
    before = [window()] * 9
    assert decided(before, stage=1).verdict is CanaryVerdict.CONTINUE
    assert decided([*before, *[window(stage=1)] * 3], stage=1).verdict is CanaryVerdict.PROMOTE


@pytest.mark.parametrize(
    ("test", "canary"),
    [
        ("errors", counts(errors=7, label_shares={"NEGATIVE": 72, "POSITIVE": 71})),
        ("refused", counts(refused=60)),
        ("latency", counts(latency=latency(150, 300))),
        ("labels", counts(label_shares={"POSITIVE": 150})),
        ("labels", counts(label_shares={"NEGATIVE": 75, "POSITIVE": 5, "NEW": 70})),
        ("scores", counts(score_shares=(0, 0, 0, 0, 0, 150, 0, 0, 0, 0))),
        ("disagreement", counts(shadow_shares={"agree": 60, "disagree": 90})),
        ("shadow errors", counts(shadow_shares={"agree": 120, "failed": 30})),
        ("accuracy", counts(feedback_shares={"right": 20, "wrong": 30})),
    ],
)
def test_each_test_rolls_back_what_it_is_for_and_names_it(test: str, canary: Counts) -> None:
    champion = counts(450, feedback_shares={"right": 95, "wrong": 5})
    decision = decided([window(canary, champion)] * 4)
    assert decision.verdict is CanaryVerdict.ROLL_BACK
    assert test in TESTS and decision.reason.startswith(f"{test}: ")
    assert [finding.test for finding in decision.findings if finding.alarms] == [test]


@pytest.mark.parametrize(
    ("test", "canary"),
    [
        ("errors alone", counts(20, errors=20, label_shares={})),
        ("errors alone", counts(200, errors=40)),
        ("latency alone", counts(40, latency=latency(40, 10_000))),
    ],
)
def test_a_bad_canary_is_found_without_traffic_of_the_champion(test: str, canary: Counts) -> None:
    decision = decided([window(canary, Counts())] * 2)
    assert decision.verdict is CanaryVerdict.ROLL_BACK and decision.reason.startswith(f"{test}: ")
    good = decided([window(counts(), Counts())] * 9)
    assert good.verdict is CanaryVerdict.CONTINUE and "0 of 300" in good.reason


def test_one_bad_window_is_enough_if_it_is_bad_enough() -> None:
    decision = decided([window(), window(counts(errors=150, label_shares={}))])
    assert decision.verdict is CanaryVerdict.ROLL_BACK
    assert decision.reason.startswith(
        "errors: requests with status 5xx: 50.00% of the canary's against 0.00%"
    )


def test_what_cannot_be_loaded_is_rolled_back_at_once() -> None:
    failed = (ModelLoadFailure("new", "digest-mismatch"),)
    decision = decided([window(counts(0), failed=failed, versions=("1", None))])
    assert decision.verdict is CanaryVerdict.ROLL_BACK and "digest-mismatch" in decision.reason
    other = (ModelLoadFailure("old", "store-unavailable"),)
    assert decided([window(failed=other)]).verdict is CanaryVerdict.CONTINUE


def test_a_canary_that_calls_itself_what_the_champion_does_is_rolled_back() -> None:
    decision = decided([window(versions=("1", "1"))])
    assert decision.verdict is CanaryVerdict.ROLL_BACK and "another version" in decision.reason
    assert decided([window(versions=(None, None))]).verdict is CanaryVerdict.CONTINUE


def test_a_canary_that_looks_worse_is_not_promoted_without_evidence() -> None:
    windows = [window(), window(), window(counts(errors=3))]
    decision = decided(windows)
    assert decision.verdict is CanaryVerdict.CONTINUE and "seems worse" in decision.reason
    assert decided(windows, stage_s=600).verdict is CanaryVerdict.ROLL_BACK
    assert decided([*windows, *[window()] * 5]).verdict is CanaryVerdict.PROMOTE, "it was chance"


def test_a_stage_without_requests_ends() -> None:
    idle = [window(counts(0), counts(0))] * 40
    assert decided(idle, stage_s=599).verdict is CanaryVerdict.CONTINUE
    late = decided(idle, stage_s=600)
    assert late.verdict is CanaryVerdict.ROLL_BACK and "0 of 300" in late.reason


def test_a_shadow_stage_counts_requests() -> None:
    aside = Counts(shadow_shares={"agree": 95, "disagree": 5})
    assert decided([window(aside)] * 2, shadow=True).verdict is CanaryVerdict.CONTINUE
    assert decided([window(aside)] * 3, shadow=True).verdict is CanaryVerdict.PROMOTE


def test_slow_follows_the_champion() -> None:
    """The same latency is slow compared with a fast champion and normal compared with a slow one."""
    canary = counts(latency=latency(150, 750))
    slow_champion = counts(450, latency=latency(450, 750))
    assert decided([window(canary, slow_champion)] * 4).verdict is CanaryVerdict.PROMOTE
    assert decided([window(canary)] * 4).verdict is CanaryVerdict.ROLL_BACK


def labels_evidence(windows: list[MetricWindow], plan: RolloutPlan = PLAN) -> float:
    [found] = [finding.evidence for finding in judge(windows, plan) if finding.test == "labels"]
    return found


@pytest.mark.parametrize("new_labels", [10, 500])
def test_labels_that_appear_late_take_nothing_of_the_evidence_that_there_was(new_labels: int) -> None:
    bad = window(counts(label_shares={"POSITIVE": 130.0, "NEGATIVE": 20.0}))

    def evidence(labels: int) -> float:
        new = {f"new {number}": 30 / labels for number in range(labels)}
        return labels_evidence(
            [*[bad] * 12, window(counts(label_shares={"POSITIVE": 60.0, "NEGATIVE": 60.0, **new}))]
        )

    assert evidence(new_labels) == pytest.approx(evidence(1), abs=0.1)


@pytest.mark.parametrize(
    ("champion", "canary", "tolerance"),
    [
        ({"A": 0.9, "B": 0.1}, {"A": 0.9, "B": 0.1}, 0.0),
        ({"A": 0.8, "B": 0.2}, {"A": 0.9, "B": 0.1}, 0.1),
        ({"A": 0.9, "B": 0.1}, {"A": 0.8, "B": 0.1, "C": 0.1}, 0.1),
        ({"A": 0.6, "B": 0.3, "C": 0.1}, {"A": 0.6, "B": 0.3, "C": 0.1}, 0.0),
    ],
)
def test_labels_that_appear_in_any_window_gain_nothing_on_average(
    champion: dict[str, float], canary: dict[str, float], tolerance: float
) -> None:
    """The mean is an enumeration of three windows with one request of the champion and one of the canary."""
    plan = RolloutPlan(tolerances=Tolerances(label_share=tolerance))
    requests = [
        (window(counts(1, label_shares={b: 1.0}), counts(1, label_shares={a: 1.0})), champion[a] * canary[b])
        for a, b in itertools.product(champion, canary)
    ]
    mean = 0.0
    for sequence in itertools.product(requests, repeat=3):
        likely = prod(chance for _, chance in sequence)
        mean += likely * exp(labels_evidence([each for each, _ in sequence], plan))
    assert mean <= 1 + 1e-9


@pytest.mark.parametrize("number", [2, 20, 100])
def test_identical_versions_with_many_labels_are_not_rolled_back(number: int) -> None:
    """The windows have few requests, so that new labels appear all the time."""
    draw = random.Random(number)
    names, chances = [f"l{rank}" for rank in range(number)], [1 / (rank + 1) for rank in range(number)]

    def drawn(requests: int) -> Counts:
        found = Counter(draw.choices(names, chances, k=requests))
        return counts(requests, label_shares={name: float(count) for name, count in found.items()})

    plan = RolloutPlan(tolerances=Tolerances(label_share=0.01))
    limit = log(len(TESTS) / plan.false_rollback_share)
    for _ in range(3):
        assert labels_evidence([window(drawn(5), drawn(15)) for _ in range(20)], plan) < limit


def test_findings_have_the_shares() -> None:
    found = {
        finding.test: finding for finding in judge([window(counts(errors=3), counts(450, errors=9))], PLAN)
    }
    assert (found["errors"].champion, found["errors"].canary) == (0.02, 0.02)
    assert set(found) == {"errors", "refused", "labels", "scores", "errors alone", "latency alone"}


def test_p95() -> None:
    assert p95_ms(latency(0, 50)) is None
    assert p95_ms(latency(100, 50)) == pytest.approx(20 + 30 * 0.95)
    assert p95_ms((0,) * len(BOUNDARIES_MS) + (5,)) == BOUNDARIES_MS[-1]
