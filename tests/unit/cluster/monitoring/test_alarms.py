"""Tests of the values that the alarms compute from the application's counters: only SLO traffic counts."""

from __future__ import annotations

import asyncio
from collections import Counter as Counts
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from cluster.autoscaling.config import PolicyConfig
from cluster.autoscaling.decision import recommend
from cluster.autoscaling.demand import ObservedLoad, pods_needed
from cluster.aws.terraform_runner import variables_of
from cluster.kuberay.settings import read_environment
from cluster.monitoring.catalog import Catalog, read_catalog
from serve_app.errors import NotReadyError, QueueFullError, UnprocessableTextError
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.settings import Settings
from tests.conftest import ROOT
from tests.contract.fake_replica import FakeReplica
from tests.relabelling import relabelled

KEY = "key"
Requests = tuple[int, str, str, dict[str, Any]]
"""Number of requests, method, path, and options of httpx."""
ASKED = {"json": {"inputs": "a text"}}
TEXTS = 110
"""Requests with texts in the minute: the alarms evaluate shares only above 100."""


class RecordingCounter:
    """Counter that exposes its series in Prometheus's text format, as Ray does for its own counters."""

    shown: Counts[tuple[str, tuple[tuple[str, str], ...]]]

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] = ()) -> None:
        self._name, self._tags = f"ray_{name}_total", set(tag_keys)

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        assert set(tags or {}) <= self._tags, "Ray refuses a tag that was not declared"
        self.shown[self._name, tuple(sorted((tags or {}).items()))] += int(value)


class TimedMetrics(Metrics):
    """Metrics that report each successful answer of the model as late, and all other responses as fast."""

    def request(self, route: str, status: int, seconds: float, **tags: Any) -> None:
        super().request(route, status, 1.0 if (route, status) == ("/v1/classify", 200) else 0.001, **tags)


@pytest.fixture
def catalog() -> Catalog:
    return read_catalog()


def values(catalog: Catalog, text: str) -> dict[str, float]:
    """Return the value that each alarm on the replicas' counters evaluates, for one minute of one pod."""
    kept = relabelled(catalog, text)

    def total(metric: str, outcome: str | None) -> float | None:
        series = [one for _, one in kept.get(metric, ())]
        found = [one.value for one in series if outcome in (None, one.labels.get("outcome"))]
        return sum(found) if found else None

    found = {}
    for name in ("rate", "latency", "errors", "refused"):
        alarm = catalog.alarms[name]
        queries = {id: total(query.metric, query.outcome) for id, query in alarm.queries.items()}
        assert alarm.expression is not None
        found[name] = float(eval(alarm.expression, {"__builtins__": {}}, {**_METRIC_MATH, **queries}))
    return found


_METRIC_MATH: Mapping[str, Any] = {
    "IF": lambda condition, then, otherwise: then if condition else otherwise,
    "FILL": lambda series, value: value if series is None else series,
}


def exposition(shown: Mapping[tuple[str, tuple[tuple[str, str], ...]], int]) -> str:
    lines = ["# TYPE ray_sentiment_model_info gauge", 'ray_sentiment_model_info{role="champion"} 1']
    for name in sorted({name for name, _ in shown}):
        lines.append(f"# TYPE {name} counter")
        for tags, value in ((tags, value) for (own, tags), value in shown.items() if own == name):
            lines.append(name + "{" + ",".join(f'{key}="{text}"' for key, text in tags) + f"}} {value}")
    return "\n".join(lines) + "\n"


def after(
    monkeypatch: pytest.MonkeyPatch,
    other: Requests | None = None,
    refusal: Exception | None = None,
    failure: Exception | None = None,
) -> str:
    """Return a pod's metrics after `TEXTS` late answers, followed by other requests.

    For the other requests, the replica raises `refusal` before it reads the body, or `failure` in the model.
    """
    RecordingCounter.shown = Counts()
    monkeypatch.setattr("serve_app.metrics.Counter", RecordingCounter)
    metrics = TimedMetrics()
    settings = Settings(api_keys=(SecretStr(KEY), SecretStr("other")), key_requests_per_minute=900)
    replica = FakeReplica()
    app = build_api(replica, settings, metrics)

    async def send(client: httpx.AsyncClient, count: int, method: str, path: str, **options: Any) -> None:
        for _ in range(count):
            await client.request(method, path, **options)

    async def minute() -> None:
        transport, key = httpx.ASGITransport(app), {"x-api-key": KEY}
        async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=key) as client:
            await send(client, TEXTS, "POST", "/v1/classify", **ASKED)
            if other is not None:
                replica.refusal, replica.failure, (count, method, path, options) = refusal, failure, other
                await send(client, count, method, path, **{"headers": {"x-api-key": "other"}} | options)

    asyncio.run(minute())
    metrics.flush()
    return exposition(RecordingCounter.shown)


OTHERS: Mapping[str, Requests] = {
    "health checks": (2090, "GET", "/health", {}),
    "SageMaker's pings": (2090, "GET", "/ping", {}),
    "a load balancer's": (2090, "HEAD", "/v2/health/ready", {}),
    "metadata": (100, "GET", "/v1/model", {}),
    "feedback where none is stored": (100, "POST", "/v1/feedback", {"json": {}}),
    "texts of a wrong shape": (100, "POST", "/v1/classify", {"json": {"inputs": 1}}),
    "texts for another model": (100, "POST", "/v2/models/other/infer", {"json": {}}),
    "texts without a key": (2090, "POST", "/v1/classify", {"headers": {"x-api-key": "unknown"}}),
    "texts beyond a key's own rate": (2090, "POST", "/v1/classify", {"headers": {"x-api-key": "other"}}),
}


@pytest.mark.parametrize("other", OTHERS)
def test_other_requests_change_no_alarm(
    monkeypatch: pytest.MonkeyPatch, catalog: Catalog, other: str
) -> None:
    """With 190 health checks and 10 texts, a service that is late on every text is 100 % late, not 5 %."""
    alone = values(catalog, after(monkeypatch))
    assert alone == {"rate": TEXTS, "latency": 1.0, "errors": 0.0, "refused": 0.0}
    assert values(catalog, after(monkeypatch, OTHERS[other])) == alone


@pytest.mark.parametrize("path", ["/v1/classify", "/predict", "/", "/invocations", "/classify"])
def test_texts_count_on_every_route_that_takes_them(
    monkeypatch: pytest.MonkeyPatch, catalog: Catalog, path: str
) -> None:
    full = QueueFullError("the queue is full", 1.0)
    refused = values(catalog, after(monkeypatch, (TEXTS, "POST", path, {"json": {}}), full))
    assert refused == {"rate": 2 * TEXTS, "latency": 1.0, "errors": 0.0, "refused": 0.5}
    failed = values(
        catalog, after(monkeypatch, (TEXTS, "POST", path, {"json": {}}), NotReadyError("no model yet"))
    )
    assert failed == {"rate": 2 * TEXTS, "latency": 0.5, "errors": 0.5, "refused": 0.0}


def test_a_text_on_which_the_model_fails_counts_as_failed(
    monkeypatch: pytest.MonkeyPatch, catalog: Catalog
) -> None:
    """The status of such a request is 422, although the caller made no error."""
    fails = UnprocessableTextError("the model cannot take this text", 0)
    found = values(catalog, after(monkeypatch, (TEXTS, "POST", "/v1/classify", ASKED), failure=fails))
    assert found == {"rate": 2 * TEXTS, "latency": 0.5, "errors": 0.5, "refused": 0.0}


@given(
    pods=st.integers(1, 50),
    per_pod=st.floats(0, 3000),
    promised=st.floats(60, 2000),
    tolerance=st.floats(0, 0.5),
)
@example(pods=4, per_pod=659, promised=600, tolerance=0.1)
@example(pods=4, per_pod=661, promised=600, tolerance=0.1)
def test_the_rate_alarm_rings_where_the_autoscaler_adds_pods(
    pods: int, per_pod: float, promised: float, tolerance: float
) -> None:
    aims = PolicyConfig(requests_per_minute=promised, tolerance=tolerance)
    assume(abs(per_pod / aims.max_requests_per_minute - 1) > 1e-9)  # excludes rounding errors of floats
    load = ObservedLoad(
        requests_per_s=per_pod * pods / 60, tokens_per_s=0, capacity_tokens_per_s=0, waits_s=()
    )
    adds = recommend(pods_needed(load, aims), pods, aims.tolerance) > pods
    assert adds == (per_pod > aims.max_requests_per_minute)


def test_the_alarms_rate_is_the_environments(catalog: Catalog) -> None:
    assert catalog.alarms["rate"].threshold is None, "Terraform's variable"
    for changes, per_minute in (([], 660), (["serve.scaling.requests_per_minute=900"], 990)):
        environment = read_environment("prod", changes)
        assert f"pod_max_requests_per_minute={per_minute}" in variables_of(environment)
    assert variables_of(read_environment("dev")) == ["pod_max_requests_per_minute=660"]
    variables = (ROOT / "cluster" / "aws" / "terraform" / "variables.tf").read_text()
    default = f"{read_environment('prod').serve.scaling.max_requests_per_minute:g}"
    assert (
        f"default     = {default}\n"
        in variables.partition('"pod_max_requests_per_minute"')[2].partition("}")[0]
    )


def test_the_dashboards_price_follows_the_order_of_the_groups() -> None:
    def price(*changes: str) -> str:
        [variable] = [one for one in variables_of(read_environment("prod", changes)) if "usd" in one]
        return variable.partition("=")[2]

    assert price() == "1.624", "a g5.4xlarge for each pod, by list prices"
    large = "workers=[{name='large', instance_type='g5.12xlarge', max_pods=16}]"
    # Four pods on one node for 5.672.
    assert price(large, "serve.min_pods=4", "serve.max_pods=4") == "1.418"
    # Two pods on it for 2.836 each, three for 1.8907, four for 1.418: 2.0482 on average
    assert price(large, "serve.max_pods=4") == "2.0482"
