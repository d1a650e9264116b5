"""What the tests compare: shares of a version's requests, alone or several in one test. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.rollout.observations import BOUNDARIES_MS, TENTHS, Counts, Window

_SCORE_FLOORS = (6, 7, 8, 9)
_LATE_STAKE = 0.1
"""Of the test of labels, for labels that nobody knew when it began."""

Share = Callable[[Counts], tuple[float, float]]
"""The sum of the requests' shares, each 0 to 1, and the number of the requests."""


def errors(counts: Counts) -> tuple[float, float]:
    """Requests answered 5xx, of all."""
    return counts.errors, counts.requests


def late(ms: float) -> Share:
    """Of requests that take longer, to the next boundary of the histogram."""
    after = min(bisect.bisect_left(BOUNDARIES_MS, ms), len(BOUNDARIES_MS) - 1) + 1
    return lambda counts: (sum(counts.latency[after:]), sum(counts.latency))


def refused(counts: Counts) -> tuple[float, float]:
    """Requests answered 429, of all."""
    return counts.refused, counts.requests


def wrong(counts: Counts) -> tuple[float, float]:
    """Requests' shares of texts that feedback calls wrong, of those with feedback."""
    return counts.feedback_shares.get("wrong", 0.0), sum(counts.feedback_shares.values())


def differing(counts: Counts) -> tuple[float, float]:
    """Requests' shares of texts that the canary labels otherwise, of those scored aside."""
    return counts.shadow_shares.get("disagree", 0.0), counts.shadowed - counts.shadow_shares.get(
        "failed", 0.0
    )


def failing(counts: Counts) -> tuple[float, float]:
    """Requests' shares of texts that the canary failed on, of those scored aside."""
    return counts.shadow_shares.get("failed", 0.0), counts.shadowed


@dataclass(frozen=True, slots=True)
class Component:
    """A share that is one of several of the same test.

    Attributes:
        what: is counted.
        share: of a version.
        since: number of the window in which it was first known: only later ones are bet on.
        stake: part of the test's stake.
    """

    what: str
    share: Share
    since: int
    stake: float


def labels(windows: Sequence[Window]) -> list[Component]:
    """Of each label, its share of the requests' texts.

    Which labels there are is known from what was observed. So that this costs no validity, the stakes follow
    from earlier windows alone: the labels known when the champion is first observed have equal parts, and a
    label that appears later gets its part, less from one to the next, of what is kept for such.
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
        Component(f"texts labelled {label}", share(label), first[label] if label in late else 0, stake)
        for label, stake in stakes.items()
    ]


def scores() -> list[Component]:
    """Of each floor, the share of the requests' texts whose label has at least that score."""

    def share(floor: int) -> Share:
        return lambda counts: (sum(counts.score_shares[floor:]), sum(counts.score_shares))

    return [
        Component(f"texts scored {floor / TENTHS:.1f} or more", share(floor), 0, 1 / len(_SCORE_FLOORS))
        for floor in _SCORE_FLOORS
    ]
