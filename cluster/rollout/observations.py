"""What the two versions did in a window of time: counts, and nothing that needs a clock or a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BOUNDARIES_MS = (1, 2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 30_000)
"""Upper ends of the latency histogram, as `serve_app.metrics` declares them; one more class is open."""
TENTHS = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """What one version did.

    Attributes:
        requests: with texts, by whatever route, refused ones included.
        errors: of those, answered 5xx.
        refused: of those, answered 429.
        latency: requests by time to the answer, one class a boundary and the open one; not in each case those
            that were refused.
        label_shares: answered requests, each divided among labels by the share of its texts.
        score_shares: the same by the label's score, in tenths.
        shadow_shares: requests scored aside, each divided by the share of its texts into `agree` (with the
            champion's label), `disagree` and `failed`.
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
        """Requests that were answered with labels."""
        return sum(self.label_shares.values())

    @property
    def shadowed(self) -> float:
        """Requests scored aside."""
        return sum(self.shadow_shares.values())


@dataclass(frozen=True, slots=True)
class FailedLoad:
    """A model that some replica is to serve and could not load: its address, and the error's type."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class Window:
    """Both versions side by side.

    Attributes:
        stage: number of the stage, from 0.
        seconds: how long the window was.
        champion: what the champion did.
        canary: what the canary did.
        failed: models that replicas could not load, at the window's end.
        versions: the versions that champion and canary call themselves; None for one that nobody serves.
    """

    stage: int
    seconds: float
    champion: Counts
    canary: Counts
    failed: tuple[FailedLoad, ...] = ()
    versions: tuple[str | None, str | None] = (None, None)


def p95_ms(latency: tuple[int, ...]) -> float | None:
    """The 95th percentile of a latency histogram, linear within its class; None of an empty one.

    In the open class it is the last boundary: at least so much.
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
