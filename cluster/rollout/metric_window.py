"""Counts of the two versions in a time window. Pure data without clock or network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BOUNDARIES_MS = (1, 2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 30_000)
"""Upper ends of the latency histogram in ms, as in `serve_app.metrics`; one more class is open-ended."""
TENTHS = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one version.

    Attributes:
        requests: requests with texts on any route, including the refused ones.
        errors: requests answered 5xx.
        refused: requests answered 429.
        latency: requests by time to the answer: one class per boundary and the open-ended class; it does not
            always include the refused requests.
        label_shares: answered requests, each divided among labels by the share of its texts.
        score_shares: answered requests, divided likewise among the tenths of the label's score.
        shadow_shares: requests scored by the shadow model, each divided by the share of its texts into
            `agree` (with the champion's label), `disagree` and `failed`.
        feedback_shares: requests with feedback, each divided into `right` and `wrong`.
    """

    requests: int = 0
    errors: int = 0
    refused: int = 0
    latency: tuple[int, ...] = (0,) * (len(BOUNDARIES_MS) + 1)
    label_shares: Mapping[str, float] = field(default_factory=dict)
    score_shares: tuple[float, ...] = (0.0,) * TENTHS
    shadow_shares: Mapping[str, float] = field(default_factory=dict)
    feedback_shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def answered(self) -> float:
        """Return the number of requests that were answered with labels."""
        return sum(self.label_shares.values())

    @property
    def shadowed(self) -> float:
        """Return the number of requests that the shadow model scored."""
        return sum(self.shadow_shares.values())


@dataclass(frozen=True, slots=True)
class ModelLoadFailure:
    """Model that a replica could not load: its address, and the error's type."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class MetricWindow:
    """Counts of both versions in one time window.

    Attributes:
        stage: number of the stage, from 0.
        seconds: length of the window.
        champion: counts of the champion.
        canary: counts of the canary.
        failed: models that replicas could not load, at the end of the window.
        versions: versions that champion and canary report; None for a model that no replica serves.
    """

    stage: int
    seconds: float
    champion: Counts
    canary: Counts
    failed: tuple[ModelLoadFailure, ...] = ()
    versions: tuple[str | None, str | None] = (None, None)


def p95_ms(latency: tuple[int, ...]) -> float | None:
    """Return the 95th percentile of a latency histogram, linear within its class; None if it is empty.

    In the open-ended class the result is the last boundary, which is a lower bound.
    """
    total, below = sum(latency), 0
    if not total:
        return None
    for place, count in enumerate(latency[:-1]):
        if below + count >= 0.95 * total:
            low = BOUNDARIES_MS[place - 1] if place else 0
            return low + (BOUNDARIES_MS[place] - low) * (0.95 * total - below) / count
        below += count
    return float(BOUNDARIES_MS[-1])
