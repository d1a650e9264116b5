"""Number of pods that the load needs, computed from the samples of the replicas."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from cluster.autoscaling.config import PolicyConfig

Points = Sequence[tuple[float, float]]
"""(Unix time in seconds, value), ordered by time."""
Series = Mapping[str, Points]
"""Samples of one replica: time series by field name of `AutoscalingStats` of the replica."""

_WINDOW_FRACTION = 0.75
"""Length of the window as a fraction of the longest series. The other series are slightly shorter, since
replicas sample at different times; with this fraction every window is within its series, except a new
replica's."""


@dataclass(frozen=True, slots=True)
class ObservedLoad:
    """Load of all replicas over the window.

    Attributes:
        requests_per_s: Received requests per second, answered or refused.
        tokens_per_s: Tokens of these requests per second.
        capacity_tokens_per_s: Mean measured capacity of a replica; 0 while no replica has measured it.
        waits_s: Expected wait in each replica's queue, as the mean over the window.
    """

    requests_per_s: float
    tokens_per_s: float
    capacity_tokens_per_s: float
    waits_s: tuple[float, ...]


def load_of(replicas: Sequence[Series]) -> ObservedLoad | None:
    """Sum the load of the replicas, each over a window of the same length that ends at its latest sample.

    A request counts once, at the replica that received it. A new replica adds its received requests without
    extrapolation, so that the sum does not jump when the load is redistributed.

    Args:
        replicas: Samples of each replica; clocks of different replicas are not compared.

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
    return ObservedLoad(
        requests_per_s=accepted + refused,
        # The tokens of refused requests are unknown: assume the mean of the accepted ones.
        tokens_per_s=tokens * (1 + refused / accepted) if accepted else tokens,
        capacity_tokens_per_s=fmean(known) if known else 0.0,
        waits_s=tuple(_mean(series["ahead_s"], window_s) for series in replicas),
    )


def pods_needed(load: ObservedLoad, aims: PolicyConfig) -> float:
    """Return the maximum of three needs, in pods with fractions.

    - SLO: requests per minute divided by the target per pod.
    - Capacity: tokens per second divided by the target fraction of a pod's measured capacity.
    - Queue: tokens per second divided by a pod's full capacity, plus the pods that reduce the waits beyond
      `wait_s` within `drain_s`. A wait is in seconds of one pod's work, so the sum divided by seconds is a
      number of pods.
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
    """Return the increase of a counter in the window that ends at its last point, by linear interpolation."""
    return points[-1][1] - _at(points, points[-1][0] - window_s)


def _mean(points: Points, window_s: float) -> float:
    start_s = points[-1][0] - window_s
    return fmean(value for time_s, value in points if time_s >= start_s)


def _at(points: Points, time_s: float) -> float:
    """Return a series' value at a time by linear interpolation; before the first point, the first value."""
    before = points[0]
    for point in points:
        if point[0] >= time_s:
            span_s = point[0] - before[0]
            share = (time_s - before[0]) / span_s if span_s > 0 else 0.0
            return before[1] + max(0.0, share) * (point[1] - before[1])
        before = point
    return before[1]
