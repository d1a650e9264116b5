"""Metrics of a drift check for monitoring: Prometheus text format and CloudWatch JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from train.drift.results import LEVELS, Report

NAMESPACE = "Sentiment"
"""Namespace of the CloudWatch metrics, the same as the service's."""

Unit = Literal["None", "Count", "Seconds"]


@dataclass(frozen=True, slots=True)
class Metric:
    """Metric of a drift check; its name in Prometheus begins with `sentiment_`."""

    name: str
    unit: Unit
    what: str

    @property
    def prometheus(self) -> str:
        """Return its name in Prometheus."""
        return f"sentiment_{self.name}"


VERDICT = Metric("drift_verdict", "None", "Verdict of the drift check: 0 ok, 1 drift, 2 retrain.")
WINDOW_ROWS = Metric("drift_window_rows", "Count", "Number of distinct texts in the window.")
CHECK = Metric("drift_check_level", "None", "Level of each check: 0 ok, 1 drift, 2 retrain.")
EFFECT = Metric("drift_check_effect", "None", "Effect size of each check.")
SEGMENTS = Metric("drift_segments_turned", "Count", "Number of segments that drifted.")
ACCURACY = Metric("drift_accuracy_fraction", "None", "Accuracy on the audit sample.")
ESTIMATED = Metric(
    "drift_estimated_accuracy_fraction", "None", "Accuracy estimated from the mean score, without labels."
)
CHECKED = Metric("drift_checked_timestamp_seconds", "Seconds", "Unix time of the drift check, in seconds.")
METRICS = (VERDICT, WINDOW_ROWS, CHECK, EFFECT, SEGMENTS, ACCURACY, ESTIMATED, CHECKED)


def prometheus(report: Report, now: datetime) -> bytes:
    """Return text in Prometheus format, with labels `version` and `check`.

    A node exporter's textfile collector or a push gateway can read it.
    """
    registry = CollectorRegistry()
    gauges: dict[Metric, Gauge] = {}
    for metric, check, value in _values(report, now):
        labels = {"version": report.version} | ({"check": check} if check else {})
        if metric not in gauges:
            gauges[metric] = Gauge(metric.prometheus, metric.what, list(labels), registry=registry)
        gauges[metric].labels(**labels).set(value)
    return generate_latest(registry)


def cloudwatch(report: Report, now: datetime) -> str:
    """Return JSON for `aws cloudwatch put-metric-data --cli-input-json` or boto3's `put_metric_data`.

    With boto3, call `put_metric_data(**json.loads(...))`. Every value is listed with and without the version,
    for alarms that are independent of the version. The dimension `service` is the model's name, as in
    cluster/monitoring/metrics.yaml.
    """
    data: list[dict[str, Any]] = []
    for metric, check, value in _values(report, now):
        dimensions = {"service": report.name} | ({"check": check} if check else {})
        for of in (dimensions, {**dimensions, "version": report.version}):
            data.append(
                {
                    "MetricName": metric.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in of.items()],
                    "Timestamp": now.astimezone(UTC).isoformat(),
                    "Value": value,
                    "Unit": metric.unit,
                }
            )
    return json.dumps({"Namespace": NAMESPACE, "MetricData": data}, indent=2) + "\n"


def _values(report: Report, now: datetime) -> Iterator[tuple[Metric, str, float]]:
    """Yield each metric with its check, which is "" for metrics of the entire window, and its value."""
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
