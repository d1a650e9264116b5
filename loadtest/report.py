"""Report of the verdict as a text table and as a JSON document."""

import math
from collections.abc import Mapping

from loadtest.config import LoadTestConfig
from loadtest.results import Observations
from loadtest.slo import Percentiles, SLOCheck, SLOVerdict, per_pod_minute, percentile

METHOD = "nearest rank over all requests, from the due time; failed requests rank last"


def table(host: str, config: LoadTestConfig, seen: Observations, verdict: SLOVerdict) -> str:
    """Return the verdict as lines of text, with the overall result last."""
    lag_p99 = percentile(seen.lags_ms, 99, len(seen.lags_ms))
    figures = [
        ("requests sent", f"{seen.sent} ({per_pod_minute(seen.sent, seen):.1f}/min/pod)"),
        ("latency", f"{_latency(verdict.latency)}   {METHOD}"),
        *([("  answered", _latency(verdict.answered))] if seen.failures else []),
        ("failures", _counts(seen.failures)),
        ("model versions", _counts(seen.versions)),
        ("tokens", f"{seen.tokens_in_window / seen.window_s:.0f}/s"),
        ("sent late by", f"p99 {_ms(lag_p99)}"),
    ]
    return "\n".join(
        [
            "",
            f"{host}  {seen.pods} pod{'s' if seen.pods > 1 else ''}  {seen.window_s:.1f} s measured  "
            f"offered {config.pace.per_minute:g}/min/pod ({config.pace.kind})  texts: {config.texts_from}",
            "",
            f"  {'check':<16}{'measured':>14}   {'required':<22}",
            *(_line(check) for check in verdict.checks),
            "",
            *(f"  {name:<16}{text}" for name, text in figures),
            "",
            *(f"  {reason}" for reason in verdict.reasons),
            *(f"  warning: {warning}" for warning in verdict.warnings),
            _mark(verdict.passed),
        ]
    )


def document(
    host: str, config: LoadTestConfig, seen: Observations, verdict: SLOVerdict, started_at: str
) -> dict[str, object]:
    """Return the verdict as a JSON object; a percentile without an answer is null.

    Args:
        host: The tested service.
        config: The offered load.
        seen: The observations.
        verdict: Verdict on `seen`.
        started_at: Start time, UTC, ISO 8601.
    """
    return {
        "scenario": "slo",
        "passed": verdict.passed,
        "reasons": list(verdict.reasons),
        "warnings": list(verdict.warnings),
        "started_at": started_at,
        "host": host,
        "pods": seen.pods,
        "window_s": round(seen.window_s, 3),
        "warmup_s": config.warmup_s,
        "timeout_s": config.timeout_s,
        "offered_per_minute_per_pod": config.pace.per_minute,
        "arrivals": config.pace.kind,
        "seed": config.pace.seed,
        "texts": {"from": config.texts_from, "count": len(config.texts)},
        "requests_sent": seen.sent,
        "sent_per_minute_per_pod": per_pod_minute(seen.sent, seen),
        "answered_per_minute_per_pod": per_pod_minute(seen.answered_in_window, seen),
        "tokens_per_s": seen.tokens_in_window / seen.window_s,
        "latency_ms": {"method": METHOD, **_percentiles(verdict.latency)},
        "answered_latency_ms": _percentiles(verdict.answered),
        "generator_late_ms": {"p99": _finite(percentile(seen.lags_ms, 99, len(seen.lags_ms)))},
        "failures": dict(seen.failures),
        "model_versions": dict(seen.versions),
        "checks": [
            {
                "name": check.name,
                "measured": _finite(check.measured),
                "relation": check.relation,
                "limit": check.limit,
                "unit": check.unit,
                "passed": check.passed,
            }
            for check in verdict.checks
        ],
    }


def _mark(passed: bool) -> str:
    return "PASS" if passed else "FAIL"


def _line(check: SLOCheck) -> str:
    required = f"{check.relation} {_value(check, check.limit)}"
    return f"  {check.name:<16}{_value(check, check.measured):>14}   {required:<22}{_mark(check.passed)}"


def _value(check: SLOCheck, value: float) -> str:
    if check.unit == "ms":
        return _ms(value)
    return f"{value:.2%}" if check.unit == "of requests" else f"{value:.1f}{check.unit}"


def _ms(value: float) -> str:
    return "no answer" if math.isinf(value) else f"{value:.1f} ms"


def _latency(latency: Percentiles) -> str:
    return f"p50 {_ms(latency.p50)}  p95 {_ms(latency.p95)}  p99 {_ms(latency.p99)}"


def _counts(counts: Mapping[str, int]) -> str:
    return "  ".join(f"{name}: {count}" for name, count in counts.items()) or "none"


def _percentiles(latency: Percentiles) -> dict[str, float | None]:
    return {"p50": _finite(latency.p50), "p95": _finite(latency.p95), "p99": _finite(latency.p99)}


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else round(value, 4)
