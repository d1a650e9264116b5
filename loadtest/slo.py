"""The verdict: was the promise kept? A pure function of what was observed.

The promise is that of one pod: at least 480 right answers a minute, offered 600, with p95 at or below 100 ms.

The rate is judged against what was sent. Random arrivals send fewer than their mean rate in half of the
windows, and no service can answer what it was not sent: so the limit is the smaller of the promised rate and
the rate sent, less what may be in flight at the window's end while p95 is kept. A saturated load generator
sends fewer than its schedule has; then the limit is the promised rate, since less load proves less.

Percentiles are nearest-rank over raw samples (Hyndman & Fan 1996, type 1): the smallest latency that at
least that share of **all** requests of the window did not exceed, so it is always a latency that occurred. A
request that failed was never answered: it ranks behind every answer, and fast refusals cannot make a
percentile look better.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.observations import Observations

_Z = 3.72
"""Standard normal quantile of 1 - 1 / 10,000: how far the requests in flight may exceed their mean."""


@dataclass(frozen=True, slots=True)
class SLO:
    """What one pod promises.

    Attributes:
        p95_ms: Highest p95 latency from the due time, > 0.
        per_minute: Lowest rate of right answers a minute a pod, > 0.
        failed_fraction: Highest share of requests without a right answer, 0 to 1.
    """

    p95_ms: float = 100.0
    per_minute: float = 480.0
    failed_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in ms; `math.inf` where that rank is a request without a right answer."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict: `measured` against `limit`, both in `unit`."""

    name: str
    measured: float
    relation: Literal["<=", ">="]
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the line holds."""
        return self.measured <= self.limit if self.relation == "<=" else self.measured >= self.limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every check with its figures; the whole passes when each does."""

    checks: tuple[Check, ...]
    latency: Percentiles
    answered: Percentiles
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.passed for check in self.checks)


def judge(seen: Observations, slo: SLO) -> Verdict:
    """Compare one window with the promise.

    Args:
        seen: What came back.
        slo: The promise.

    Returns:
        The checks; `latency` over all requests and `answered` over the right answers alone; a sentence in
        `reasons` for each broken check, and in `warnings` for each sign of a saturated load generator.
    """
    latency = _percentiles(seen.latencies_ms, seen.sent)
    checks = (
        Check("p95 latency", latency.p95, "<=", slo.p95_ms, "ms"),
        Check(
            "right answers",
            per_pod_minute(seen.answered_in_window, seen),
            ">=",
            _lowest_rate(seen, slo),
            "/min/pod",
        ),
        Check(
            "failed", seen.failed / seen.sent if seen.sent else 1.0, "<=", slo.failed_fraction, "of requests"
        ),
    )
    answered = _percentiles(seen.latencies_ms, len(seen.latencies_ms))
    return Verdict(checks, latency, answered, _reasons(seen, checks), _warnings(seen, slo))


def per_pod_minute(count: float, seen: Observations) -> float:
    """Return `count` events of the window as a rate a minute a pod."""
    return count * 60 / seen.window_s / seen.pods


def percentile(rising: Sequence[float], percent: int, of: int) -> float:
    """Return the nearest-rank percentile of `of` requests, those beyond `rising` never answered.

    Args:
        rising: The values that are known, sorted, at most `of`.
        percent: 1 to 100, a whole number so that the rank is exact.
        of: All requests; with 0 there is no rank.

    Returns:
        A value of `rising`, or `math.inf` where the rank lies beyond it.
    """
    rank = -(-percent * of // 100)
    return rising[rank - 1] if 1 <= rank <= len(rising) else math.inf


def _lowest_rate(seen: Observations, slo: SLO) -> float:
    """Return the right answers a minute a pod that the window must hold."""
    if seen.saturated:
        return slo.per_minute
    in_flight = seen.sent / seen.window_s * slo.p95_ms / 1000  # Little's law with the promised latency
    answered = seen.sent - in_flight - _Z * math.sqrt(in_flight)
    return min(slo.per_minute, max(0.0, per_pod_minute(answered, seen)))


def _warnings(seen: Observations, slo: SLO) -> tuple[str, ...]:
    """Return a sentence for each way in which the load generator did not keep its schedule."""
    warnings = []
    if seen.saturated:
        warnings.append(
            f"the load generator saturated: it sent {seen.sent} of {seen.sent + seen.unsent} requests that "
            "were due; give it a core of its own, or lower --per-minute"
        )
    lag_p95 = percentile(seen.lags_ms, 95, len(seen.lags_ms))
    if seen.lags_ms and lag_p95 > slo.p95_ms / 10:
        warnings.append(
            f"the load generator itself sent late (p95 {lag_p95:.1f} ms), which is part of the latency: "
            "give it a core of its own before blaming the service"
        )
    return tuple(warnings)


def _percentiles(rising: Sequence[float], of: int) -> Percentiles:
    return Percentiles(percentile(rising, 50, of), percentile(rising, 95, of), percentile(rising, 99, of))


def _reasons(seen: Observations, checks: tuple[Check, ...]) -> tuple[str, ...]:
    p95, rate, failed = checks
    reasons = []
    if not seen.sent:
        reasons.append("nothing was sent in the measured window, so nothing was shown")
    elif not p95.passed and math.isinf(p95.measured):
        reasons.append("more than 5 % of the requests got no right answer, so there is no p95")
    elif not p95.passed:
        reasons.append(f"p95 is {p95.measured:.1f} ms, promised are at most {p95.limit:g} ms")
    if seen.sent and not rate.passed:
        sent = per_pod_minute(seen.sent, seen)
        reasons.append(
            f"{rate.measured:.1f} right answers a minute a pod of {sent:.1f} sent, "
            f"at least {rate.limit:.1f} are needed"
        )
    if seen.sent and not failed.passed:
        reasons.append(f"{seen.failed} of {seen.sent} requests got no right answer")
    return tuple(reasons)
