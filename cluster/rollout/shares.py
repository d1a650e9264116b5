"""Shares of a version's requests that the tests compare, alone or several in one test. Pure functions."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.rollout.metric_window import BOUNDARIES_MS, TENTHS, Counts, MetricWindow

_SCORE_FLOORS = (6, 7, 8, 9)
_LATE_STAKE = 0.1
"""Part of the label test's stake for labels that were unknown when the test began."""

Share = Callable[[Counts], tuple[float, float]]
"""Function that returns the sum of the requests' shares, each 0 to 1, and the number of requests."""


def errors(counts: Counts) -> tuple[float, float]:
    """Return the requests answered 5xx, and all requests."""
    return counts.errors, counts.requests


def late(ms: float) -> Share:
    """Return the share of requests that take longer than `ms`, rounded up to a boundary of the histogram."""
    after = min(bisect.bisect_left(BOUNDARIES_MS, ms), len(BOUNDARIES_MS) - 1) + 1
    return lambda counts: (sum(counts.latency[after:]), sum(counts.latency))


def refused(counts: Counts) -> tuple[float, float]:
    """Return the requests answered 429, and all requests."""
    return counts.refused, counts.requests


def wrong(counts: Counts) -> tuple[float, float]:
    """Return the requests' shares of texts that are wrong by feedback, and the requests with feedback."""
    return counts.feedback_shares.get("wrong", 0.0), sum(counts.feedback_shares.values())


def differing(counts: Counts) -> tuple[float, float]:
    """Return the requests' shares of texts that the shadow model labels differently, and those requests.

    Requests in which the shadow model failed are not counted.
    """
    return counts.shadow_shares.get("disagree", 0.0), counts.shadowed - counts.shadow_shares.get(
        "failed", 0.0
    )


def failing(counts: Counts) -> tuple[float, float]:
    """Return the requests' shares of texts that the shadow model failed on, and all shadowed requests."""
    return counts.shadow_shares.get("failed", 0.0), counts.shadowed


@dataclass(frozen=True, slots=True)
class Component:
    """Share that is tested together with other shares.

    Attributes:
        what: what is counted.
        share: function that returns the share of a version.
        since: number of the window in which the share was first known: the test only uses later windows.
        stake: part of the test's stake.
    """

    what: str
    share: Share
    since: int
    stake: float


def labels(windows: Sequence[MetricWindow]) -> list[Component]:
    """Return one component per label: its share of the requests' texts.

    The labels are known only from the observations. The stakes depend only on earlier windows, so the test
    stays valid: the labels known when the champion is first observed have equal parts, and each label that
    appears later gets a part, smaller from one to the next, of the reserve for late labels.
    """

    def share(label: str) -> Share:
        return lambda counts: (counts.label_shares.get(label, 0.0), counts.answered)

    first: dict[str, int] = {}
    for number, window in enumerate(windows):
        for label in sorted({*window.champion.label_shares, *window.canary.label_shares}):
            first.setdefault(label, number)
    begins = next((number for number, window in enumerate(windows) if window.champion.answered), 0)
    early = [label for label, since in first.items() if since <= begins]
    late = [label for label, since in first.items() if since > begins]
    stakes = {label: (1 - _LATE_STAKE) / len(early) for label in early}
    stakes |= {label: _LATE_STAKE / (place * (place + 1)) for place, label in enumerate(late, start=1)}
    return [
        Component(f"texts with the label {label}", share(label), first[label] if label in late else 0, stake)
        for label, stake in stakes.items()
    ]


def scores() -> list[Component]:
    """Return one component per score floor: the share of texts whose label has at least that score."""

    def share(floor: int) -> Share:
        return lambda counts: (sum(counts.score_shares[floor:]), sum(counts.score_shares))

    return [
        Component(
            f"texts with a score of {floor / TENTHS:.1f} or more", share(floor), 0, 1 / len(_SCORE_FLOORS)
        )
        for floor in _SCORE_FLOORS
    ]
