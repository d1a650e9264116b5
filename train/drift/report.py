"""Drift report: `drift.json`, `report.html` with plots, metrics for monitoring, and tables for a terminal."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from train.drift.detector import DriftCheck
from train.drift.exporters import cloudwatch, prometheus
from train.drift.results import AccuracyFigures, CheckResult, Report, to_json
from train.drift.statistics import Counts, shares
from train.evaluation.tables import table
from train.html_report import new_figure, page, png

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(result: DriftCheck, folder: Path, now: datetime) -> None:
    """Write all files; create the folder if it is missing.

    Args:
        result: Result of the drift check.
        folder: Output folder.
        now: Time of the drift check, with a time zone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = plots(result)
    for name, image in images.items():
        (folder / f"{name}.png").write_bytes(image)
    (folder / "drift.json").write_text(to_json(result.report), encoding="utf-8")
    (folder / "metrics.prom").write_bytes(prometheus(result.report, now))
    (folder / "cloudwatch.json").write_text(cloudwatch(result.report, now), encoding="utf-8")
    (folder / "report.html").write_text(html(result, images, now), encoding="utf-8")


def html(result: DriftCheck, images: dict[str, bytes], now: datetime) -> str:
    """Return the page."""
    return page(
        _TEMPLATE,
        images,
        {"p_value": p_value, "effect": effect, "time": _time},
        report=result.report,
        profile=result.reference.profile,
        accuracy=list(accuracy_rows(result.report.accuracy)),
        now=now,
    )


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_REFERENCE, _CURRENT = "#8a8a8a", "#1f5fa8"
_LEVEL_COLOURS = {"ok": "#176b2c", "drift": "#b3761d", "retrain": "#a11"}


def plots(result: DriftCheck) -> dict[str, bytes]:
    """Return all plots by name."""
    return {"distributions": distributions(result), "effects": effects(result)}


def distributions(result: DriftCheck) -> bytes:
    """Plot reference and window next to each other: texts by tokens, by score, by predicted label."""
    profile, traffic = result.reference.profile, result.traffic
    figure, panels = new_figure(1, 3, width=12, height=3.4)
    lengths = profile.token_lengths
    ends = [f"{low:.0f}" for low in lengths.edges[:-1]]
    _bars(panels[0], ends, np.array(lengths.counts), traffic.lengths, "tokens (lower edge of the bin)")
    borders = [f"{low:g}" for low in profile.top_scores.edges[:-1]]
    used = slice(len(borders) // 2 if len(profile.labels) == 2 else 0, None)
    of_reference = np.array(profile.top_scores.counts)
    _bars(
        panels[1],
        borders[used],
        of_reference[used],
        traffic.top_scores[used],
        "score of the predicted label (lower edge)",
    )
    predicted = np.array([round(profile.predicted_shares[name] * profile.texts) for name in traffic.labels])
    _bars(panels[2], list(traffic.labels), predicted, traffic.answers, "label")
    for panel, title in zip(panels, ("text length", "score", "predicted label"), strict=True):
        panel.set(title=title, ylabel="fraction of the texts")
        panel.legend(fontsize=10, frameon=False)
    return png(figure)


def effects(result: DriftCheck) -> bytes:
    """Plot each effect as a multiple of its limit: a significant effect counts from 1 on."""
    from matplotlib.patches import Patch

    findings = [*result.report.findings, *result.report.segments[:20]]
    figure, panels = new_figure(1, 1, width=8, height=1.4 + 0.26 * len(findings))
    panel = panels[0]
    panel.axvline(1, color="0.6", linewidth=1)
    for height, found in enumerate(reversed(findings)):
        multiple = max(found.effect / found.bound, 0.02) if found.bound else 0.02
        panel.barh(height, multiple, color=_LEVEL_COLOURS[found.level], height=0.6)
    names = [f"segment {found.check[:30]}" if found.kind == "segment" else found.check for found in findings]
    panel.set_yticks(range(len(findings)), names[::-1], fontsize=9)
    panel.set_xscale("symlog", linthresh=1)
    panel.set(
        title="drift checks",
        xlabel="effect size / minimum effect size (ratio)",
        ylabel="check",
    )
    levels = [level for level in _LEVEL_COLOURS if any(found.level == level for found in findings)]
    patches = [Patch(color=_LEVEL_COLOURS[level], label=level) for level in levels]
    panel.legend(handles=patches, fontsize=10, frameon=False)
    return png(figure)


def _bars(panel: Any, names: list[str], reference: Counts, current: Counts, what: str) -> None:
    positions = np.arange(len(names))
    panel.bar(positions - 0.2, shares(reference), width=0.4, color=_REFERENCE, label="reference")
    panel.bar(positions + 0.2, shares(current), width=0.4, color=_CURRENT, label="window")
    panel.set_xticks(positions, names, fontsize=9, rotation=90 if len(names) > 6 else 0)
    panel.set_xlabel(what)


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
    yield ["on the held-out texts", percent(found.reference)]
    interval = "" if found.low is None else f" [{percent(found.low)}, {percent(found.high)}]"
    yield [f"on an audit sample of {found.audited:,} texts", percent(found.measured) + interval]
    if found.judged:
        bounds = f"{percent(found.feedback_low)} to {percent(found.feedback_high)}"
        yield [f"possible range from feedback on {found.judged:,} texts", bounds]
    yield ["estimated from the mean score", percent(found.by_mean_score)]
    yield ["estimated from a threshold on the score", percent(found.by_threshold)]


def _parts(report: Report) -> Iterator[str]:
    times = f" from {report.begin:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M}" if report.end else ""
    if report.begin:
        again = f" and {report.repeated:,} further predictions of them" if report.repeated else ""
        yield f"{report.name} {report.version}: {report.rows:,} distinct texts{again}{times}"
    rows = [["check", "effect", "minimum", "p-value", "level"], *map(_row, report.findings)]
    rows += [[unmeasured.check, "-", "-", "-", "not measured"] for unmeasured in report.unmeasured]
    yield table(rows)
    yield table([["accuracy", ""], *accuracy_rows(report.accuracy)])
    drifted = report.segments[:_SHOWN_SEGMENTS]
    if drifted:
        yield table([["segment", "rise", "minimum", "p-value", "level"], *map(_row, drifted)])
    more = f" ({len(drifted)} shown)" if len(drifted) < len(report.segments) else ""
    not_yet = f", {report.segments_not_yet:,} without enough history" if report.segments_not_yet else ""
    yield f"segments: {report.segments_judged:,} checked, {len(report.segments):,} drifted{more}{not_yet}"
    lines = [f"- {reason}" for reason in report.reasons]
    lines += [f"- not measured: {unmeasured.check}: {unmeasured.why}" for unmeasured in report.unmeasured]
    yield "\n".join([*lines, report.verdict.upper()])


def _row(finding: CheckResult) -> list[str]:
    return [
        finding.check,
        effect(finding.effect),
        f"{finding.bound:g}",
        p_value(finding.p),
        finding.level,
    ]
