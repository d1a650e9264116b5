"""How many pods the load needs: the replicas' samples in, a number out. A pure function of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cluster.autoscaling.aims import Aims

Points = Sequence[tuple[float, float]]
"""(Unix time in seconds, value), in the order of time."""
Series = Mapping[str, Points]
"""One replica's samples: the fields of `serve_app.demand.Demand` by name."""

_WINDOW_FRACTION = 0.75
"""Of the longest series. The others are a little shorter, since replicas sample and report at times of their
own; every window but a new replica's lies within its series so."""


@dataclass(frozen=True, slots=True)
class Load:
    """All replicas together, over the window.

    Attributes:
        requests_per_s: that came, whether they were answered or not.
        tokens_per_s: of those.
        capacity_tokens_per_s: of one replica, measured; the mean. 0 while no replica knows its own.
        waits_s: expected wait in each replica's queue, the mean over the window.
    """

    requests_per_s: float
    tokens_per_s: float
    capacity_tokens_per_s: float
    waits_s: tuple[float, ...]


def load_of(replicas: Sequence[Series]) -> Load | None:
    """Add up the replicas, each over the same length of time up to its own latest sample.

    A request counts once, at the replica that got it: a new replica adds what came to it and no estimate of
    what will, so the sum does not jump when the load is shared out anew.

    Args:
        replicas: the samples of each; those of a replica's clock are compared with its own alone.

    Returns:
        The load, or None if no replica has two samples yet.
    """
    replicas = [series for series in replicas if len(series.get("requests", ())) > 1]
    window_s = _WINDOW_FRACTION * max(map(_length_s, replicas), default=0.0)
    if window_s <= 0:
        return None

    def rate(name: str) -> float:
        return sum(_gain(series[name], window_s) for series in replicas) / window_s

    accepted, refused, tokens = rate("requests"), rate("refused"), rate("tokens")
    known = [capacity for series in replicas if (capacity := series["capacity_tokens_per_s"][-1][1]) > 0]
    return Load(
        requests_per_s=accepted + refused,
        # Nobody counted the tokens of what was refused: take it to be like what was not.
        tokens_per_s=tokens * (1 + refused / accepted) if accepted else tokens,
        capacity_tokens_per_s=fmean(known) if known else 0.0,
        waits_s=tuple(_mean(series["ahead_s"], window_s) for series in replicas),
    )


def pods_needed(load: Load, aims: Aims) -> float:
    """The largest of three needs, in pods and parts of them.

    - By the promise: requests a minute over those a pod is counted on for.
    - By capacity: tokens a second over the part of a pod's measured capacity that it is counted on for.
    - By the queue: what the tokens take of the pods' whole capacity, and what works off in `drain_s` the
      wait beyond `wait_s`. A wait is seconds of one pod's work: their sum over seconds is a number of pods.
    """
    needs = [60 * load.requests_per_s / aims.requests_per_minute]
    if load.capacity_tokens_per_s:
        busy = load.tokens_per_s / load.capacity_tokens_per_s
        late_s = sum(max(0.0, wait_s - aims.wait_s) for wait_s in load.waits_s)
        needs += [busy / aims.capacity_fraction, busy + late_s / aims.drain_s]
    return max(needs)


def _length_s(series: Series) -> float:
    points = series["requests"]
    return points[-1][0] - points[0][0]


def _gain(points: Points, window_s: float) -> float:
    """What a counter rose by in the window that ends with its last point; between two points, evenly."""
    return points[-1][1] - _at(points, points[-1][0] - window_s)


def _mean(points: Points, window_s: float) -> float:
    start_s = points[-1][0] - window_s
    return fmean(value for time_s, value in points if time_s >= start_s)


def _at(points: Points, time_s: float) -> float:
    """A series' value at a time, between two points on the line through them; before the first, the first."""
    before = points[0]
    for point in points:
        if point[0] >= time_s:
            span_s = point[0] - before[0]
            share = (time_s - before[0]) / span_s if span_s > 0 else 0.0
            return before[1] + max(0.0, share) * (point[1] - before[1])
        before = point
    return before[1]
