"""What monitoring is told of a look for drift: every name once, as Prometheus text and for CloudWatch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from train.drift.findings import LEVELS, Report

NAMESPACE = "Sentiment/Drift"
"""Of the CloudWatch metrics."""

Unit = Literal["None", "Count", "Seconds"]


@dataclass(frozen=True, slots=True)
class Name:
    """One metric under both its names."""

    prometheus: str
    cloudwatch: str
    unit: Unit
    what: str


VERDICT = Name("sentiment_drift_verdict", "Verdict", "None", "0 ok, 1 drift, 2 retrain.")
WINDOW_ROWS = Name("sentiment_drift_window_rows", "WindowRows", "Count", "Answers that were judged.")
CHECK = Name("sentiment_drift_check_level", "CheckLevel", "None", "Of a check: 0 ok, 1 drift, 2 retrain.")
EFFECT = Name("sentiment_drift_check_effect", "CheckEffect", "None", "Of a check: how much has changed.")
SEGMENTS = Name("sentiment_drift_segments_turned", "SegmentsTurned", "Count", "Segments that turned.")
ACCURACY = Name("sentiment_drift_accuracy_fraction", "Accuracy", "None", "By feedback, where there is some.")
ESTIMATED = Name(
    "sentiment_drift_estimated_accuracy_fraction",
    "EstimatedAccuracy",
    "None",
    "By the mean score, without feedback.",
)
CHECKED = Name(
    "sentiment_drift_checked_timestamp_seconds", "CheckedAt", "Seconds", "When the check was made, Unix time."
)
NAMES = (VERDICT, WINDOW_ROWS, CHECK, EFFECT, SEGMENTS, ACCURACY, ESTIMATED, CHECKED)


def prometheus(report: Report, now: datetime) -> bytes:
    """Text for a node exporter's textfile collector or a push gateway; labels `version` and `check`."""
    registry = CollectorRegistry()
    gauges: dict[Name, Gauge] = {}
    for name, check, value in _values(report, now):
        labels = {"version": report.version} | ({"check": check} if check else {})
        if name not in gauges:
            gauges[name] = Gauge(name.prometheus, name.what, list(labels), registry=registry)
        gauges[name].labels(**labels).set(value)
    return generate_latest(registry)


def cloudwatch(report: Report, now: datetime) -> str:
    """JSON for `aws cloudwatch put-metric-data --cli-input-json`, or `put_metric_data(**json.loads(...))`.

    Every value is given once with the version and once without, for alarms that outlive a version.
    """
    data: list[dict[str, Any]] = []
    for name, check, value in _values(report, now):
        of_check = [{"Name": "Check", "Value": check}] if check else []
        for dimensions in (of_check, [*of_check, {"Name": "ModelVersion", "Value": report.version}]):
            data.append(
                {
                    "MetricName": name.cloudwatch,
                    "Dimensions": dimensions,
                    "Timestamp": now.astimezone(UTC).isoformat(),
                    "Value": value,
                    "Unit": name.unit,
                }
            )
    return json.dumps({"Namespace": NAMESPACE, "MetricData": data}, indent=2) + "\n"


def _values(report: Report, now: datetime) -> Iterator[tuple[Name, str, float]]:
    """Each metric with its check, or "" for those of the whole window, and its value."""
    yield VERDICT, "", LEVELS.index(report.verdict)
    yield WINDOW_ROWS, "", report.rows
    yield SEGMENTS, "", len(report.segments)
    yield CHECKED, "", now.timestamp()
    if report.accuracy.measured is not None:
        yield ACCURACY, "", report.accuracy.measured
    if report.accuracy.by_mean_score is not None:
        yield ESTIMATED, "", report.accuracy.by_mean_score
    for finding in report.findings:
        check = finding.check.replace(" ", "_")
        yield CHECK, check, LEVELS.index(finding.level)
        yield EFFECT, check, finding.effect
