"""Effects of a fault on clients: failures, the longest gap, and the time until the service was normal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from benchmarks.chaos.traffic import OK, RecordedRequest

STEADY_S = 3.0
"""Consecutive seconds in which every request must be normal before the service counts as normal."""
MIN_SLOW_S = 0.25
"""Latency below which no request counts as slow: stalls of a shared machine take as long."""
SLOW_FACTOR = 3.0
"""Multiple of the p99 before the fault above which a request is slow."""


def failures(requests: Sequence[RecordedRequest], *, allowed: Collection[str] = (OK,)) -> Counter[str]:
    """Count the requests by outcome, without the allowed outcomes; an open one counts as "unanswered"."""
    outcomes = (request.outcome or "unanswered" for request in requests)
    return Counter(outcome for outcome in outcomes if outcome not in allowed)


def p99_s(requests: Sequence[RecordedRequest]) -> float:
    """Return the 99th percentile of the latency of the answers with status 200; infinite without one."""
    latencies = [request.latency_s for request in requests if request.outcome == OK]
    return float(np.quantile(latencies, 0.99)) if latencies else float("inf")


def slow_limit_s(before: Sequence[RecordedRequest]) -> float:
    """Return the latency above which a request is slow, from the requests before the fault."""
    return max(MIN_SLOW_S, SLOW_FACTOR * p99_s(before))


def longest_gap_s(requests: Sequence[RecordedRequest], start: float, end: float) -> float:
    """Return the longest time between `start` and `end` without an answer with status 200."""
    answered = sorted(
        request.done
        for request in requests
        if request.outcome == OK and request.done is not None and start <= request.done <= end
    )
    return float(np.diff([start, *answered, end]).max())


def time_to_normal_s(
    requests: Sequence[RecordedRequest], fault_at: float, end: float, slow_s: float
) -> float:
    """Return the seconds from the fault until the service is normal.

    The service is normal from the first time that is followed by `STEADY_S` seconds with only answers with
    status 200 faster than `slow_s`, and after which no request fails. A single slow answer later, which
    occurs on a shared machine, does not count. The result is infinite if there is no such time before `end`.
    """
    after = sorted((request for request in requests if request.due >= fault_at), key=lambda r: r.due)
    after += [request for request in requests if request.due < fault_at and request.in_flight(fault_at)]
    failed = [request.due for request in after if request.outcome != OK]
    abnormal = sorted({request.due for request in after if request.latency_s > slow_s} | set(failed))
    candidates = [fault_at, *(due for due in abnormal if due >= fault_at)]
    last_failed = max(failed, default=fault_at)
    for start, following in zip(candidates, [*candidates[1:], end], strict=True):
        if start >= last_failed and following - start >= STEADY_S:
            return start - fault_at
    return float("inf")
