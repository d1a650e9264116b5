"""What the running service shows at Ray's endpoint, read as the CloudWatch agent is told to read it."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cluster.kuberay.settings import read_environment
from cluster.monitoring.agent import agent_documents
from cluster.monitoring.catalog import Catalog, read_catalog
from tests.conftest import Service

pytestmark = pytest.mark.ray
PATIENCE_S = 60
RARE = {"ray_sentiment_late_requests_total", "ray_sentiment_failed_load"}
"""Shown only once a request was late, or a model could not be loaded."""


def relabelled(catalog: Catalog, text: str) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Series by name, each with its type and labels, after the rules of the agent's configuration."""
    documents = agent_documents(read_environment("prod"), catalog, region="us-east-1")
    [configuration] = [one["data"]["prometheus.yaml"] for one in documents if one["kind"] == "ConfigMap"]
    rules = yaml.safe_load(configuration)["scrape_configs"][0]["metric_relabel_configs"]
    kept: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = _apply(rules, {**sample.labels, "__name__": sample.name})
            if labels is not None:
                kept.setdefault(sample.name, []).append((family.type, labels))
    return kept


def _apply(rules: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, str] | None:
    """Prometheus's relabelling, as far as the rules use it: None for what is dropped."""
    for rule in rules:
        value = ";".join(labels.get(name, "") for name in rule["source_labels"])
        matches = re.fullmatch(rule["regex"], value) is not None
        match rule.get("action", "replace"):
            case "keep" if not matches:
                return None
            case "drop" if matches:
                return None
            case "replace" if matches:
                labels = {**labels, rule["target_label"]: rule["replacement"]}
    return labels


def test_every_metric_of_the_catalog_is_there_and_no_histogram(service: Service) -> None:
    catalog = read_catalog()
    wanted = catalog.sent_by("replica").keys() - RARE
    good = httpx.post(f"{service.url}/v1/classify", json={"inputs": "I love this cream"}, timeout=PATIENCE_S)
    assert good.status_code == 200
    assert httpx.post(f"{service.url}/v1/classify", json={}, timeout=PATIENCE_S).status_code == 422
    until = time.monotonic() + PATIENCE_S
    found: dict[str, list[tuple[str, dict[str, str]]]] = {}
    while not wanted <= found.keys() and time.monotonic() < until:
        found = relabelled(catalog, httpx.get(service.metrics, timeout=PATIENCE_S).text)
        time.sleep(0.5)  # Ray hands its metrics over every few seconds
    assert wanted <= found.keys()
    for name, series in found.items():
        assert name in catalog.metrics
        assert {kind for kind, _ in series} <= {"counter", "gauge"}  # the agent drops others
    outcomes = {labels["outcome"] for _, labels in found["ray_sentiment_requests_total"]}
    assert outcomes <= {"answered", "refused", "failed"}
    assert {labels["role"] for _, labels in found["ray_sentiment_model_info"]} <= {"champion", "canary"}


def test_outcomes_are_those_of_the_alarms() -> None:
    catalog = read_catalog()
    text = "# TYPE ray_sentiment_requests_total counter\n" + "".join(
        f'ray_sentiment_requests_total{{route="/v1/classify",status="{status}",version="1"}} 1\n'
        for status in (200, 422, 429, 500, 504)
    )
    series = relabelled(catalog, text)["ray_sentiment_requests_total"]
    assert {labels["status"]: labels["outcome"] for _, labels in series} == {
        "200": "answered",
        "422": "answered",
        "429": "refused",
        "500": "failed",
        "504": "failed",
    }
