"""Verdict on the SLO: a pure function of the observations.

The SLO is that of one pod: at least 480 correct answers per minute at an offered rate of 600, with p95 at or
below 100 ms.

The rate is compared with what was sent. Random arrivals send fewer than their mean rate in half of the
windows, and no service can answer requests that it did not receive. The limit is therefore the smaller of the
SLO's rate and the rate sent, less the number of requests that may be in flight at the window's end while p95
is kept. A saturated load generator sends fewer requests than scheduled; then the limit is the SLO's rate,
since less load proves less.

Percentiles are nearest-rank over raw samples (Hyndman & Fan 1996, type 1): the smallest latency that at least
that share of **all** requests of the window did not exceed, so it is always a latency that occurred. A failed
request was never answered: it ranks after every answer, so fast refusals cannot improve a percentile.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadtest.results import Observations

_Z = 3.72
"""Standard normal quantile of 1 - 1 / 10,000: how far the requests in flight may exceed their mean."""


@dataclass(frozen=True, slots=True)
class SLO:
    """SLO of one pod.

    Attributes:
        p95_ms: Maximum p95 latency from the due time, > 0.
        per_minute: Minimum rate of correct answers per minute and pod, > 0.
        failed_fraction: Maximum fraction of requests without a correct answer, 0 to 1.
    """

    p95_ms: float = 100.0
    per_minute: float = 480.0
    failed_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in ms; `math.inf` where that rank is a request without a correct answer."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class SLOCheck:
    """One line of the verdict: `measured` compared with `limit`, both in `unit`."""

    name: str
    measured: float
    relation: Literal["<=", ">="]
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """Return whether the measured value meets the limit."""
        return self.measured <= self.limit if self.relation == "<=" else self.measured >= self.limit


@dataclass(frozen=True, slots=True)
class SLOVerdict:
    """All checks with their figures; the verdict passes if each check passes."""

    checks: tuple[SLOCheck, ...]
    latency: Percentiles
    answered: Percentiles
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Return whether every check passes."""
        return all(check.passed for check in self.checks)


def evaluate_slo(seen: Observations, slo: SLO) -> SLOVerdict:
    """Compare one window with the SLO.

    Args:
        seen: The observations.
        slo: The SLO.

    Returns:
        The checks; `latency` over all requests and `answered` over the correct answers only; a sentence in
            `reasons` for each failed check, and in `warnings` for each sign of a saturated load generator.
    """
    latency = _percentiles(seen.latencies_ms, seen.sent)
    checks = (
        SLOCheck("p95 latency", latency.p95, "<=", slo.p95_ms, "ms"),
        SLOCheck(
            "right answers",
            per_pod_minute(seen.answered_in_window, seen),
            ">=",
            _lowest_rate(seen, slo),
            "/min/pod",
        ),
        SLOCheck(
            "failed", seen.failed / seen.sent if seen.sent else 1.0, "<=", slo.failed_fraction, "of requests"
        ),
    )
    answered = _percentiles(seen.latencies_ms, len(seen.latencies_ms))
    return SLOVerdict(checks, latency, answered, _reasons(seen, checks), _warnings(seen, slo))


def per_pod_minute(count: float, seen: Observations) -> float:
    """Return `count` events of the window as a rate per minute and pod."""
    return count * 60 / seen.window_s / seen.pods


def percentile(rising: Sequence[float], percent: int, of: int) -> float:
    """Return the nearest-rank percentile of `of` requests; those beyond `rising` were never answered.

    Args:
        rising: The known values, sorted, at most `of`.
        percent: 1 to 100, an integer so that the rank is exact.
        of: Number of all requests; with 0 there is no rank.

    Returns:
        A value of `rising`, or `math.inf` if the rank is beyond it.
    """
    rank = -(-percent * of // 100)
    return rising[rank - 1] if 1 <= rank <= len(rising) else math.inf


def _lowest_rate(seen: Observations, slo: SLO) -> float:
    """Return the minimum rate of correct answers per minute and pod for the window."""
    if seen.saturated:
        return slo.per_minute
    in_flight = seen.sent / seen.window_s * slo.p95_ms / 1000  # Little's law with the SLO's latency
    answered = seen.sent - in_flight - _Z * math.sqrt(in_flight)
    return min(slo.per_minute, max(0.0, per_pod_minute(answered, seen)))


def _warnings(seen: Observations, slo: SLO) -> tuple[str, ...]:
    """Return a sentence for each way in which the load generator did not keep its schedule."""
    warnings = []
    if seen.saturated:
        warnings.append(
            f"the load generator is saturated: it sent {seen.sent} of {seen.sent + seen.unsent} scheduled "
            "requests; run it on a separate CPU core, or lower --per-minute"
        )
    lag_p95 = percentile(seen.lags_ms, 95, len(seen.lags_ms))
    if seen.lags_ms and lag_p95 > slo.p95_ms / 10:
        warnings.append(
            f"the load generator sent requests late (p95 {lag_p95:.1f} ms), which is part of the latency: "
            "run it on a separate CPU core to measure the service alone"
        )
    return tuple(warnings)


def _percentiles(rising: Sequence[float], of: int) -> Percentiles:
    return Percentiles(percentile(rising, 50, of), percentile(rising, 95, of), percentile(rising, 99, of))


def _reasons(seen: Observations, checks: tuple[SLOCheck, ...]) -> tuple[str, ...]:
    p95, rate, failed = checks
    reasons = []
    if not seen.sent:
        reasons.append("no request was sent in the measured window; raise --duration or --per-minute")
    elif not p95.passed and math.isinf(p95.measured):
        reasons.append("more than 5 % of the requests have no correct answer, so there is no p95")
    elif not p95.passed:
        reasons.append(f"p95 is {p95.measured:.1f} ms; expected at most {p95.limit:g} ms")
    if seen.sent and not rate.passed:
        sent = per_pod_minute(seen.sent, seen)
        reasons.append(
            f"{rate.measured:.1f} correct answers per minute per pod of {sent:.1f} sent; expected at least "
            f"{rate.limit:.1f}"
        )
    if seen.sent and not failed.passed:
        reasons.append(f"{seen.failed} of {seen.sent} requests have no correct answer")
    return tuple(reasons)
