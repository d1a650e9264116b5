"""Tests of the metrics at Ray's endpoint of the running service, as the CloudWatch agent reads them."""

from __future__ import annotations

import time

import httpx
import pytest
from prometheus_client.samples import Sample

from cluster.monitoring.catalog import read_catalog
from tests.conftest import Service
from tests.relabelling import relabelled

pytestmark = pytest.mark.serve
PATIENCE_S = 60
RARE = {"ray_sentiment_late_requests_total", "ray_sentiment_failed_load"}
"""Metrics that exist only after a request was late, or a model could not be loaded."""


def test_every_metric_of_the_catalog_is_there_and_no_histogram(service: Service) -> None:
    catalog = read_catalog()
    wanted = catalog.sent_by("replica").keys() - RARE
    good = httpx.post(f"{service.url}/v1/classify", json={"inputs": "I love this cream"}, timeout=PATIENCE_S)
    assert good.status_code == 200
    assert httpx.post(f"{service.url}/v1/classify", json={}, timeout=PATIENCE_S).status_code == 422
    until = time.monotonic() + PATIENCE_S
    found: dict[str, list[tuple[str, Sample]]] = {}
    while not wanted <= found.keys() and time.monotonic() < until:
        found = relabelled(catalog, httpx.get(service.metrics, timeout=PATIENCE_S).text)
        time.sleep(0.5)  # Ray exports its metrics every few seconds
    assert wanted <= found.keys()
    for name, series in found.items():
        assert name in catalog.metrics
        assert {kind for kind, _ in series} <= {"counter", "gauge"}  # the agent drops other types
    counted = [series.labels for _, series in found["ray_sentiment_requests_total"]]
    assert {labels["kind"] for labels in counted} == {"inference"}
    assert {labels["status"] for labels in counted}.isdisjoint({"422"})
    assert {labels["outcome"] for labels in counted} <= {"answered", "refused", "failed"}
    roles = {series.labels["role"] for _, series in found["ray_sentiment_model_info"]}
    assert roles <= {"champion", "canary"}
