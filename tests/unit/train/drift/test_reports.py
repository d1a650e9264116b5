"""What a look leaves behind: JSON, a page, a table, metrics; and the bounds it was made by."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.train.drift.made import reference, traffic
from train.drift.judge import judge
from train.drift.measuring import Look
from train.drift.metrics import METRICS, cloudwatch, prometheus
from train.drift.report import write_report
from train.drift.tables import summary
from train.drift.thresholds import DEFAULT, read_thresholds
from train.errors import SettingsInvalid

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SEGMENTS = {"<cream>": (14, 26)} | {f"product {i}": (2, 38) for i in range(9)}


@pytest.fixture(scope="module")
def look() -> Look:
    window = replace(
        traffic(negative=400, segments=SEGMENTS, right=20, judged=90, audit=(150, 200)),
        begin=datetime(2026, 11, 25, tzinfo=UTC),
        end=datetime(2026, 11, 26, tzinfo=UTC),
    )
    past = {name: np.tile((2, 38), (14, 1)) for name in SEGMENTS}
    return Look(judge(reference(), window, read_thresholds(), history=past), reference(), window)


def test_the_folder(look: Look, tmp_path: Path) -> None:
    write_report(look, tmp_path / "drift", NOW)

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
    assert "http" not in page  # nothing is loaded from anywhere
    for reason in look.report.reasons:
        assert reason.partition("'")[0] in page
    document = json.loads((tmp_path / "drift" / "drift.json").read_text())
    assert document["verdict"] == "retrain"
    assert document["reasons"] == list(look.report.reasons)
    assert document["end"] == "2026-11-26T00:00:00+00:00"
    assert document["accuracy"]["measured"] == 0.75


def test_the_table_ends_with_reasons_and_verdict(look: Look) -> None:
    lines = summary(look.report).splitlines()

    assert lines[0] == "made 1: 600 distinct texts from 2026-11-25 00:00 to 2026-11-26 00:00"
    assert lines[-1] == "RETRAIN"
    assert "- not measured: embeddings: the log has 0 texts of the window, 50 are needed" in lines
    assert any(
        line.startswith("audit sample of 200 texts") and "75.0% [68.6%, 80.5%]" in line for line in lines
    )


def test_prometheus_reads_the_metrics(look: Look) -> None:
    families = {of.name: of for of in text_string_to_metric_families(prometheus(look.report, NOW).decode())}

    assert set(families) == {metric.prometheus for metric in METRICS}
    [verdict] = families["sentiment_drift_verdict"].samples
    assert (verdict.labels, verdict.value) == ({"version": "1"}, 2)
    levels = {of.labels["check"]: of.value for of in families["sentiment_drift_check_level"].samples}
    assert levels["label_shares"] == 1
    assert levels["accuracy"] == 2


def test_cloudwatch_takes_the_metrics(look: Look) -> None:
    call = json.loads(cloudwatch(look.report, NOW))

    assert call["Namespace"] == "Sentiment"
    assert len(call["MetricData"]) <= 1_000  # the most that one call takes
    assert {of["MetricName"] for of in call["MetricData"]} == {metric.name for metric in METRICS}
    # What the alarm on drift looks at: cluster/monitoring/metrics.yaml.
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

    with pytest.raises(SettingsInvalid, match=message):
        read_thresholds(tmp_path / "mine.toml")
