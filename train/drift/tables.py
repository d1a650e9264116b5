"""Drift report as tables for a terminal."""

import math
from collections.abc import Iterator

from train.drift.results import AccuracyFigures, Finding, Report
from train.evaluation.tables import table

_SHOWN_SEGMENTS = 20


def summary(report: Report) -> str:
    """Return the report with the verdict last, where a terminal user reads first."""
    return "\n\n".join(_parts(report))


def percent(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return "-" if value is None else f"{value:.1%}"


def effect(value: float) -> str:
    """Return an effect rounded down, so that it never appears to reach a limit that it does not reach."""
    return f"{math.floor(value * 10_000) / 10_000:.4f}"


def p_value(p: float) -> str:
    """Return a p-value in at most six characters, rounded up, for the same reason."""
    return f"{math.ceil(p * 1000) / 1000:.3f}" if p >= 0.001 else "<0.001"


def accuracy_rows(found: AccuracyFigures) -> Iterator[list[str]]:
    """Yield one row per accuracy figure: its description and its value."""
    yield ["held out of training", percent(found.reference)]
    interval = "" if found.low is None else f" [{percent(found.low)}, {percent(found.high)}]"
    yield [f"audit sample of {found.audited:,} texts", percent(found.measured) + interval]
    if found.judged:
        bounds = f"{percent(found.feedback_low)} to {percent(found.feedback_high)}"
        yield [f"bounds from feedback on {found.judged:,} texts", bounds]
    yield ["estimated from the mean score", percent(found.by_mean_score)]
    yield ["estimated from a threshold on the score", percent(found.by_threshold)]


def _parts(report: Report) -> Iterator[str]:
    times = f" from {report.begin:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M}" if report.end else ""
    if report.begin:
        again = f" and {report.repeated:,} further answers to them" if report.repeated else ""
        yield f"{report.name} {report.version}: {report.rows:,} distinct texts{again}{times}"
    rows = [["check", "effect", "bound", "p", ""], *map(_row, report.findings)]
    rows += [[unmeasured.check, "-", "-", "-", "not measured"] for unmeasured in report.unmeasured]
    yield table(rows)
    yield table([["accuracy", ""], *accuracy_rows(report.accuracy)])
    turned = report.segments[:_SHOWN_SEGMENTS]
    if turned:
        yield table([["segment", "rise", "bound", "p", ""], *map(_row, turned)])
    more = f", {len(turned)} shown" if len(turned) < len(report.segments) else ""
    not_yet = f", {report.segments_not_yet:,} not yet judged: new" if report.segments_not_yet else ""
    yield f"segments: {report.segments_judged:,} judged, {len(report.segments):,} turned{more}{not_yet}"
    lines = [f"- {reason}" for reason in report.reasons]
    lines += [f"- not measured: {unmeasured.check}: {unmeasured.why}" for unmeasured in report.unmeasured]
    yield "\n".join([*lines, report.verdict.upper()])


def _row(finding: Finding) -> list[str]:
    return [
        finding.check,
        effect(finding.effect),
        f"{finding.bound:g}",
        p_value(finding.p),
        finding.level,
    ]
