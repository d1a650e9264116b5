"""Rollout decision: continue, promote or roll back, with the reason as text. Pure functions.

A canary is rolled back immediately for a fault that needs no statistics: it cannot be loaded, or it reports
the same version as the champion. Otherwise it is rolled back when the evidence is strong enough that a share
exceeds its tolerance. The plan's false-rollback probability is divided equally among the tests. The canary is
promoted when the stage has its sample and no observed share exceeds its tolerance at that moment. A stage
that does not reach this point in time is rolled back.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cluster.rollout import shares
from cluster.rollout.e_process import Array, above, differs, mixture, worse
from cluster.rollout.metric_window import BOUNDARIES_MS, MetricWindow, p95_ms
from cluster.rollout.plan import RolloutPlan, Tolerances
from cluster.rollout.shares import Component, Share

TESTS = (
    *("errors", "refused", "latency", "labels", "scores", "disagreement", "shadow errors", "accuracy"),
    *("errors alone", "latency alone"),
)
_TWO_SIDED = ("labels", "scores")
"""Tests that also find a canary whose share is lower than the champion's."""
_ROUNDING = 1e-3


class CanaryVerdict(StrEnum):
    """Next action; PROMOTE continues with the next stage, and after the last stage with all pods."""

    CONTINUE = "continue"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class CanaryFinding:
    """Result of one test over the entire rollout so far.

    Attributes:
        test: one of `TESTS`.
        what: what is counted, for example "answered 5xx".
        champion: the champion's share; None if the test uses only the canary, or if there are no counts.
        canary: the canary's share; None if there are no counts.
        tolerance: maximum of the difference, or of the canary's share if the test uses only the canary.
        evidence: natural logarithm of the e-process.
        limit: critical value of the evidence, at which the canary is rolled back.
        worse: whether the observed shares exceed the tolerance.
    """

    test: str
    what: str
    champion: float | None
    canary: float | None
    tolerance: float
    evidence: float
    limit: float
    worse: bool

    @property
    def alarms(self) -> bool:
        """Return whether the evidence is strong enough to roll back."""
        return self.evidence >= self.limit

    def __str__(self) -> str:
        champion = "" if self.champion is None else f" against {self.champion:.2%} of the champion's"
        share = "none" if self.canary is None else f"{self.canary:.2%}"
        expected = f"at most {self.tolerance:.2%}"
        if self.test in _TWO_SIDED:
            expected = f"a difference of {expected}"
        elif self.champion is not None:
            expected += " above the champion's"
        return f"{self.test}: {self.what}: {share} of the canary's{champion}; expected {expected}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Next action with its reason and the findings that it is based on."""

    verdict: CanaryVerdict
    reason: str
    findings: tuple[CanaryFinding, ...] = ()


def decide(
    windows: Sequence[MetricWindow],
    *,
    stage: int,
    shadow: bool,
    canary_uri: str,
    plan: RolloutPlan,
    stage_s: float,
) -> Decision:
    """Decide after a window.

    Args:
        windows: windows of the entire rollout, oldest first.
        stage: number of the current stage.
        shadow: whether the current stage is a shadow stage.
        canary_uri: address of the canary.
        plan: plan of the rollout.
        stage_s: seconds since the models of the stage were deployed.
    """
    if windows and (reason := _disqualified(windows[-1], canary_uri)):
        return Decision(CanaryVerdict.ROLL_BACK, reason)
    findings = judge(windows, plan)
    alarming = [finding for finding in findings if finding.alarms]
    if alarming:
        return Decision(CanaryVerdict.ROLL_BACK, "; ".join(map(str, alarming)), findings)
    missing = _missing([window for window in windows if window.stage == stage], shadow, plan)
    doubtful = [finding for finding in findings if finding.worse]
    if not missing and not doubtful:
        return Decision(
            CanaryVerdict.PROMOTE, "the sample is complete, and every test is within its tolerance", findings
        )
    waiting = missing or "the canary seems worse, but the evidence is not sufficient yet: " + "; ".join(
        map(str, doubtful)
    )
    if stage_s >= plan.max_stage_s:
        reason = f"not decided within {plan.max_stage_s:.0f} s (max_stage_s): {waiting}"
        return Decision(CanaryVerdict.ROLL_BACK, reason, findings)
    return Decision(CanaryVerdict.CONTINUE, waiting, findings)


def judge(windows: Sequence[MetricWindow], plan: RolloutPlan) -> tuple[CanaryFinding, ...]:
    """Return the finding of every test that has counts."""
    if not windows:
        return ()
    limit = math.log(len(TESTS) / plan.false_rollback_share)
    t = plan.tolerances
    findings = (
        _rate("errors", "requests with status 5xx", windows, shares.errors, t.error_share, limit),
        _rate("refused", "requests with status 429", windows, shares.refused, t.refused_share, limit),
        _latency(windows, t, limit),
        _distribution("labels", windows, shares.labels(windows), t.label_share, limit),
        _distribution("scores", windows, shares.scores(), t.score_share, limit),
        _alone(
            "disagreement",
            "texts with another label than the champion's",
            windows,
            shares.differing,
            t.disagreement_share,
            limit,
        ),
        _alone("shadow errors", "texts on which it failed", windows, shares.failing, t.error_share, limit),
        _rate("accuracy", "wrong texts by feedback", windows, shares.wrong, t.wrong_share, limit),
        # These two tests use only the canary, so they need no traffic of the champion.
        _alone("errors alone", "requests with status 5xx", windows, shares.errors, t.error_limit, limit),
        _alone(
            "latency alone",
            f"requests over {t.late_ms:g} ms",
            windows,
            shares.late(t.late_ms),
            t.late_limit,
            limit,
        ),
    )
    return tuple(finding for finding in findings if finding is not None)


def _arrays(windows: Sequence[MetricWindow], share: Share) -> tuple[Array, Array, Array, Array]:
    """Return four arrays (windows,): champion's hits and trials, canary's hits and trials."""
    rows = [(*share(window.champion), *share(window.canary)) for window in windows]
    a_hits, a_trials, b_hits, b_trials = np.array(rows, dtype=float).T
    return a_hits, a_trials, b_hits, b_trials


def _rate(
    test: str, what: str, windows: Sequence[MetricWindow], share: Share, tolerance: float, limit: float
) -> CanaryFinding | None:
    arrays = _arrays(windows, share)
    champion, canary = _shares(arrays)
    if canary is None:
        return None
    evidence = float(worse(*arrays, tolerance)[-1])
    beyond = canary > (champion or 0.0) + tolerance
    return CanaryFinding(test, what, champion, canary, tolerance, evidence, limit, beyond)


def _latency(windows: Sequence[MetricWindow], tolerances: Tolerances, limit: float) -> CanaryFinding | None:
    """Test the share of slow requests.

    A request is slow above the histogram boundary at or above the champion's p95 times the factor. The p95
    comes from the windows before the tested one.
    """
    rows: list[tuple[int, int, int, int]] = []
    known = [0] * (len(BOUNDARIES_MS) + 1)
    for window in windows:
        usual = p95_ms(tuple(known))
        if usual is None:
            rows.append((0, 0, 0, 0))
        else:
            place = min(bisect.bisect_left(BOUNDARIES_MS, tolerances.latency_factor * usual), len(known) - 2)
            a, b = window.champion.latency, window.canary.latency
            rows.append((sum(a[place + 1 :]), sum(a), sum(b[place + 1 :]), sum(b)))
        known = [one + other for one, other in zip(known, window.champion.latency, strict=True)]
    a_hits, a_trials, b_hits, b_trials = np.array(rows, dtype=float).T
    champion, canary = _shares((a_hits, a_trials, b_hits, b_trials))
    if canary is None:
        return None
    tolerance = tolerances.latency_share
    evidence = float(worse(a_hits, a_trials, b_hits, b_trials, tolerance)[-1])
    what = f"requests over {tolerances.latency_factor:g} times the champion's p95"
    beyond = canary > (champion or 0.0) + tolerance
    return CanaryFinding("latency", what, champion, canary, tolerance, evidence, limit, beyond)


def _distribution(
    test: str,
    windows: Sequence[MetricWindow],
    components: Sequence[Component],
    tolerance: float,
    limit: float,
) -> CanaryFinding | None:
    """Run one test over several shares; the finding names the share that differs most."""
    evidence, gaps = [], []
    for component in components:
        champion, canary = _shares(_arrays(windows, component.share))
        if champion is None or canary is None:
            return None
        arrays = _arrays(windows[component.since :], component.share)
        evidence.append(float(differs(*arrays, tolerance)[-1]))
        gaps.append((abs(canary - champion), component.what, champion, canary))
    if not gaps:
        return None
    gap, what, champion, canary = max(gaps)
    together = mixture(evidence, [component.stake for component in components])
    return CanaryFinding(test, what, champion, canary, tolerance, together, limit, gap > tolerance)


def _alone(
    test: str, what: str, windows: Sequence[MetricWindow], share: Share, tolerance: float, limit: float
) -> CanaryFinding | None:
    """Test the canary's share against a fixed limit, where the champion has no such share or no traffic."""
    _, _, hits, trials = _arrays(windows, share)
    if not trials.sum():
        return None
    canary = float(hits.sum() / trials.sum())
    evidence = float(above(hits, trials, tolerance)[-1])
    return CanaryFinding(test, what, None, canary, tolerance, evidence, limit, canary > tolerance)


def _shares(arrays: tuple[Array, Array, Array, Array]) -> tuple[float | None, float | None]:
    a_hits, a_trials, b_hits, b_trials = (float(array.sum()) for array in arrays)
    return (a_hits / a_trials if a_trials else None), (b_hits / b_trials if b_trials else None)


def _disqualified(latest: MetricWindow, canary_uri: str) -> str | None:
    """Return the fault that disqualifies the canary without statistics, or None."""
    for failed in latest.failed:
        if failed.uri == canary_uri:
            return f"{failed.uri} could not be loaded: {failed.reason}; see GET /v1/model of its pod"
    champion, canary = latest.versions
    if champion is not None and champion == canary:
        return (
            f"champion and canary both have the version {champion!r}, so their metrics cannot be separated; "
            "give the canary's bundle another version"
        )
    return None


def _missing(windows: Sequence[MetricWindow], shadow: bool, plan: RolloutPlan) -> str | None:
    """Return what the sample of the stage lacks, or None if it is complete."""
    if shadow:
        seen = sum(window.canary.shadowed for window in windows)
        active = sum(window.canary.shadowed > 0 for window in windows)
        sampled, what = seen, "requests scored by the shadow model"
    else:
        canary = sum(window.canary.answered for window in windows)
        champion = sum(window.champion.answered for window in windows)
        active = sum(window.canary.answered > 0 for window in windows)
        sampled, what = min(canary, champion), "answered requests of each version"
    if sampled < plan.min_requests - _ROUNDING:
        return f"{sampled:.0f} of {plan.min_requests} {what}{_unnamed(windows[-1]) if windows else ''}"
    if active < plan.min_windows:
        return f"{active} of {plan.min_windows} windows with {what}"
    return None


def _unnamed(latest: MetricWindow) -> str:
    """Return why requests cannot be counted: the metrics lack the version, or its answered requests."""
    sides = zip(("champion", "canary"), latest.versions, strict=True)
    unnamed = " and the ".join(side for side, version in sides if version is None)
    if unnamed:
        return f"; the metrics have no version of the {unnamed}"
    if latest.champion.requests > latest.champion.errors and not latest.champion.answered:
        return "; the champion's pods do not count answered requests by label: their image may be too old"
    return ""
