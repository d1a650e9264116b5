"""Tests of the outputs of a drift check: JSON, a page, a table, metrics; and of its thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.train.drift.builders import reference, traffic
from train.drift.detector import DriftCheck, judge
from train.drift.exporters import METRICS, cloudwatch, prometheus
from train.drift.report import accuracy_rows, summary, write_report
from train.drift.thresholds import DEFAULT, read_thresholds
from train.errors import SettingsFileError
from train.prediction_log.label_accuracy import AuditSums

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SEGMENTS = {"<cream>": (14, 26)} | {f"product {i}": (2, 38) for i in range(9)}


@pytest.fixture(scope="module")
def result() -> DriftCheck:
    window = replace(
        traffic(negative=400, segments=SEGMENTS, right=20, judged=90, audit=(150, 200)),
        begin=datetime(2026, 11, 25, tzinfo=UTC),
        end=datetime(2026, 11, 26, tzinfo=UTC),
    )
    past = {name: np.tile((2, 38), (14, 1)) for name in SEGMENTS}
    return DriftCheck(judge(reference(), window, read_thresholds(), history=past), reference(), window)


def test_the_folder(result: DriftCheck, tmp_path: Path) -> None:
    write_report(result, tmp_path / "drift", NOW)

    names = sorted(file.name for file in (tmp_path / "drift").iterdir())
    assert names == [
        "cloudwatch.json",
        "distributions.png",
        "drift.json",
        "effects.png",
        "metrics.prom",
        "report.html",
    ]
    page = (tmp_path / "drift" / "report.html").read_text()
    assert "&lt;cream&gt;" in page and "<cream>" not in page
    assert "http" not in page  # the page loads nothing
    for reason in result.report.reasons:
        assert reason.partition("'")[0] in page
    document = json.loads((tmp_path / "drift" / "drift.json").read_text())
    assert document["verdict"] == "retrain"
    assert document["reasons"] == list(result.report.reasons)
    assert document["end"] == "2026-11-26T00:00:00+00:00"
    assert document["accuracy"]["measured"] == 0.75


def test_the_table_ends_with_reasons_and_verdict(result: DriftCheck) -> None:
    lines = summary(result.report).splitlines()

    assert lines[0] == "made 1: 600 distinct texts from 2026-11-25 00:00 to 2026-11-26 00:00"
    assert lines[-1] == "RETRAIN"
    assert "- not measured: embeddings: the log has 0 texts of the window; expected 50 or more" in lines
    assert any(
        line.startswith("on an audit sample of 200 texts") and "75.0% [68.6%, 80.5%]" in line
        for line in lines
    )


CLAIMS = (
    "embeddings has shifted",
    "text lengths has shifted",
    "unknown-token rate has risen",
    "labels has shifted",
    "scores has shifted",
    "accuracy has fallen",
    "indicate a lower accuracy",
    "drifted",
)
"""Phrases in the sentences of changed windows."""
UNEVEN = AuditSums(texts=90, requests=60, w=700.0, y=640.0, ww=22_000.0, wy=19_500.0, yy=19_000.0)
"""Requests with different sampling fractions, so that the labels count as fewer texts."""


@given(
    negative=st.integers(150, 450),
    unknown=st.integers(0, 120),
    short=st.integers(50, 350),
    sure=st.integers(0, 600),
    audit=st.sampled_from([(150, 200), (180, 200), (190, 200), (30, 40), None]),
)
@settings(max_examples=60)
def test_no_sentence_contradicts_its_row(
    negative: int, unknown: int, short: int, sure: int, audit: tuple[int, int] | None
) -> None:
    window = traffic(
        negative=negative,
        unknown=unknown,
        lengths={4: short, 5: 200, 6: 400 - short},
        scores={17: 600 - sure, 19: sure},
        audit=audit or (0, 0),
    )
    if audit is None:
        window = replace(window, feedback=replace(window.feedback, audit=UNEVEN))
    thresholds = read_thresholds()
    report = judge(reference(), window, thresholds)
    figures = dict(accuracy_rows(report.accuracy))
    rows = [line.split() for line in summary(report).splitlines()]
    for finding in report.findings:
        claimed = any(claim in finding.reason for claim in CLAIMS)
        assert claimed == (finding.level != "ok"), finding
        [(effect, bound, p, level)] = [row[-4:] for row in rows if row[:-4] == finding.check.split()]
        beyond = float(effect) >= float(bound) and (p == "<0.001" or float(p) <= thresholds.significance)
        assert beyond == (level != "ok"), finding
        if finding.check == "accuracy":
            measured = figures[f"on an audit sample of {report.accuracy.audited:,} texts"].partition(" ")[0]
            assert f"the accuracy is {measured} on" in finding.reason
        if finding.check == "estimated accuracy":
            assert f"accuracy is {figures['estimated from the mean score']}, " in finding.reason
            assert "-" not in finding.reason
    assert set(report.reasons) == {found.reason for found in report.findings if found.level != "ok"}


def test_an_effect_that_asks_for_no_retraining_says_why() -> None:
    """The level is "drift", although the effect is as large as retraining requires."""
    window = traffic(scores={10: 600}, audit=(190, 200))
    [found] = [
        one
        for one in judge(reference(), window, read_thresholds()).findings
        if one.check == "estimated accuracy"
    ]
    assert found.level == "drift"
    assert "the labels show no fall of the accuracy" in found.reason


def test_bounds_are_not_shown_as_an_interval(result: DriftCheck) -> None:
    rows = dict(accuracy_rows(result.report.accuracy))
    assert rows["on an audit sample of 200 texts"] == "75.0% [68.6%, 80.5%]"
    assert rows["possible range from feedback on 90 texts"] == "3.3% to 88.3%"


def test_prometheus_reads_the_metrics(result: DriftCheck) -> None:
    families = {of.name: of for of in text_string_to_metric_families(prometheus(result.report, NOW).decode())}

    assert set(families) == {metric.prometheus for metric in METRICS}
    [verdict] = families["sentiment_drift_verdict"].samples
    assert (verdict.labels, verdict.value) == ({"version": "1"}, 2)
    levels = {of.labels["check"]: of.value for of in families["sentiment_drift_check_level"].samples}
    assert levels["label_shares"] == 1
    assert levels["accuracy"] == 2


def test_cloudwatch_takes_the_metrics(result: DriftCheck) -> None:
    call = json.loads(cloudwatch(result.report, NOW))

    assert call["Namespace"] == "Sentiment"
    assert len(call["MetricData"]) <= 1_000  # maximum of one call
    assert {of["MetricName"] for of in call["MetricData"]} == {metric.name for metric in METRICS}
    # The alarm on drift uses this dimension: cluster/monitoring/metrics.yaml.
    service = [{"Name": "service", "Value": "made"}]
    [verdict] = [
        of for of in call["MetricData"] if of["MetricName"] == "drift_verdict" and of["Dimensions"] == service
    ]
    assert verdict["Value"] == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("significance = 2", "significance: "),
        ("mmd = 'a'", "covariate.mmd: "),
        ("more = 1", "accuracy.more: "),
    ],
)
def test_bounds_that_are_not_understood_are_named(tmp_path: Path, line: str, message: str) -> None:
    text = DEFAULT.read_text()
    key = line.partition(" ")[0]
    lines = [line if of.startswith(f"{key} =") else of for of in text.splitlines()]
    (tmp_path / "mine.toml").write_text("\n".join(lines if line in lines else [*lines, line]))

    with pytest.raises(SettingsFileError, match=message):
        read_thresholds(tmp_path / "mine.toml")
