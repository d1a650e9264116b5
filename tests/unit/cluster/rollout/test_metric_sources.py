"""Tests of counts from metrics: Ray's endpoints and Prometheus agree, and totals may restart at zero."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.rollout.errors import MetricSourceError
from cluster.rollout.metric_sources import (
    NAMES,
    Endpoints,
    Key,
    Prometheus,
    Reading,
    auth_headers,
    between,
    counts_of,
    failed_loads,
    parse,
    version_of,
)
from cluster.rollout.metric_window import BOUNDARIES_MS, ModelLoadFailure
from serve_app import metrics

TEXT = """
# HELP ray_sentiment_requests_total Requests by route and HTTP status.
# TYPE ray_sentiment_requests_total counter
ray_sentiment_requests_total{WorkerId="a",route="/v1/classify",status="200",version="1"} 90.0
ray_sentiment_requests_total{WorkerId="a",route="/v1/classify",status="500",version="1"} 4.0
ray_sentiment_requests_total{WorkerId="a",route="/predict",status="429",version="1"} 6.0
ray_sentiment_requests_total{WorkerId="a",route="/v1/model",status="200",version="1"} 1000.0
ray_sentiment_requests_total{WorkerId="a",kind="inference",route="/",status="422",version="1"} 2.0
ray_sentiment_requests_total{WorkerId="a",kind="rejected",route="/v1/classify",status="422",version="1"} 500.0
ray_sentiment_requests_total{WorkerId="a",kind="other",route="/health",status="200",version="1"} 500.0
ray_sentiment_requests_total{WorkerId="b",route="/v2/models/{name}/infer",status="503",version="2"} 5.0
# TYPE ray_sentiment_request_ms histogram
ray_sentiment_request_ms_bucket{WorkerId="a",le="50.0",route="/v1/classify",version="1"} 70.0
ray_sentiment_request_ms_bucket{WorkerId="a",le="75.0",route="/v1/classify",version="1"} 80.0
ray_sentiment_request_ms_bucket{WorkerId="a",le="+Inf",route="/v1/classify",version="1"} 94.0
ray_sentiment_request_ms_count{WorkerId="a",route="/v1/classify",version="1"} 94.0
ray_sentiment_request_ms_sum{WorkerId="a",route="/v1/classify",version="1"} 4000.0
# TYPE ray_sentiment_predictions_total counter
ray_sentiment_predictions_total{WorkerId="a",label="POSITIVE",version="1"} 6000.0
# TYPE ray_sentiment_request_labels_total counter
ray_sentiment_request_labels_total{WorkerId="a",label="POSITIVE",version="1"} 60.25
ray_sentiment_request_labels_total{WorkerId="a",label="NEGATIVE",version="1"} 29.75
# TYPE ray_sentiment_request_scores_total counter
ray_sentiment_request_scores_total{WorkerId="a",tenth="0.9",version="1"} 80.5
ray_sentiment_request_scores_total{WorkerId="a",tenth="0.5",version="1"} 9.5
# TYPE ray_sentiment_shadow_requests_total counter
ray_sentiment_shadow_requests_total{WorkerId="a",outcome="agree",version="2"} 7.5
ray_sentiment_shadow_requests_total{WorkerId="a",outcome="disagree",version="2"} 1.5
# TYPE ray_sentiment_feedback_requests_total counter
ray_sentiment_feedback_requests_total{WorkerId="a",outcome="right",version="2"} 8.0
ray_sentiment_feedback_requests_total{WorkerId="b",outcome="right",version="2"} 3.0
ray_sentiment_feedback_requests_total{WorkerId="a",outcome="wrong",version="2"} 4.0
# TYPE ray_sentiment_model_info gauge
ray_sentiment_model_info{WorkerId="a",uri="builtin:",version="1",role="champion"} 1.0
ray_sentiment_model_info{WorkerId="b",uri="s3://new",version="2",role="canary"} 1.0
# TYPE ray_sentiment_failed_load gauge
ray_sentiment_failed_load{WorkerId="a",uri="s3://bad",reason="digest-mismatch"} 1.0
ray_sentiment_failed_load{WorkerId="a",uri="s3://earlier",reason="bundle-not-found"} 0.0
# TYPE ray_node_cpu gauge
ray_node_cpu 3.0
"""


def reading(text: str = TEXT) -> Reading:
    return Reading(dict(parse(text)))


def test_counts_are_by_version_and_of_routes_that_take_texts() -> None:
    counts = counts_of(reading(), "1")
    assert (counts.requests, counts.errors, counts.refused) == (102, 6, 6)
    assert counts.label_shares == {"NEGATIVE": 29.75, "POSITIVE": 60.25} and counts.answered == 90
    assert counts.score_shares == (0, 0, 0, 0, 0, 9.5, 0, 0, 0, 80.5)
    by_end = dict(zip((*BOUNDARIES_MS, math.inf), counts.latency, strict=True))
    assert {end: count for end, count in by_end.items() if count} == {50: 70, 75: 10, math.inf: 14}
    other = counts_of(reading(), "2")
    assert (other.requests, other.errors) == (5, 5)
    assert other.shadow_shares == {"agree": 7.5, "disagree": 1.5} and other.shadowed == 9
    assert other.feedback_shares == {"right": 11, "wrong": 4}
    assert counts_of(reading(), None).requests == 0


def test_which_version_an_address_has_and_what_failed() -> None:
    assert version_of(reading(), "builtin:") == "1"
    assert version_of(reading(), "s3://new") == "2"
    assert version_of(reading(), "s3://nobody") is None
    assert failed_loads(reading()) == (ModelLoadFailure("s3://bad", "digest-mismatch"),)


def series(**totals: float) -> Reading:
    return Reading({_key(worker): total for worker, total in totals.items()})


def _key(worker: str) -> Key:
    labels = {"WorkerId": worker, "route": "/predict", "status": "200", "version": "1"}
    return ("ray_sentiment_requests_total", frozenset(labels.items()))


@pytest.mark.parametrize(
    ("before", "after", "requests"),
    [
        (series(a=10), series(a=25), 15),
        (series(a=10), series(a=4), 4),  # the exporter restarted
        (series(a=10), series(a=12, b=7), 2),  # b is in no earlier reading: its total may be weeks old
        (series(a=10, b=5), series(b=6), 1),  # one series disappeared
    ],
)
def test_totals_that_rise_begin_anew_come_and_go(before: Reading, after: Reading, requests: int) -> None:
    assert counts_of(between(before, before.followed_by(after)), "1").requests == requests


PROCESS = st.fixed_dictionaries(
    {
        "known": st.booleans(),  # read before
        "restarted": st.booleans(),  # between the readings, with the same labels
        "totals": st.dictionaries(st.sampled_from(["200", "429", "500"]), st.integers(0, 10**6)),
        "added": st.dictionaries(st.sampled_from(["200", "429", "500"]), st.integers(0, 10**6)),
    }
)


@given(st.lists(PROCESS, max_size=5))
def test_a_window_holds_what_known_processes_added_and_nothing_else(processes: list[dict[str, Any]]) -> None:
    """The second reading contains arbitrary lifetime totals, and restarts that growth hides."""
    before: dict[Key, float] = {}
    after: dict[Key, float] = {}
    expected = 0
    for number, process in enumerate(processes):
        earlier, added = process["totals"], process["added"]
        now = (
            added
            if process["restarted"]
            else {s: earlier.get(s, 0) + added.get(s, 0) for s in (*earlier, *added)}
        )
        labels = {"NodeAddress": "node", "WorkerId": str(number)}
        start = ("ray_sentiment_process_start_time_seconds", frozenset(labels.items()))
        if process["known"]:
            before |= {start: 1000.0, **_totals(labels, earlier)}
            expected += sum(added.values())
        after |= {start: 2000.0 if process["restarted"] else 1000.0, **_totals(labels, now)}
    assert counts_of(between(Reading(before), Reading(after)), "1").requests == expected


def _totals(labels: dict[str, str], totals: dict[str, int]) -> dict[Key, float]:
    tags = {**labels, "route": "/predict", "version": "1"}
    return {
        ("ray_sentiment_requests_total", frozenset({**tags, "status": status}.items())): float(total)
        for status, total in totals.items()
    }


def test_a_series_that_was_away_goes_on_where_it_was() -> None:
    first, without, again = series(a=10), series(b=1), series(a=12, b=1)
    kept = first.followed_by(without)
    assert counts_of(between(kept, kept.followed_by(again)), "1").requests == 2


def test_gauges_are_as_they_are_now() -> None:
    assert failed_loads(between(reading(), reading())) == (ModelLoadFailure("s3://bad", "digest-mismatch"),)
    assert version_of(between(reading(), reading()), "s3://new") == "2"


def serving(request: httpx.Request) -> httpx.Response:
    """Answer as a dashboard, two nodes, and Prometheus; one node shuts down and is not scraped."""
    if request.url.path == "/api/prometheus/sd":
        groups = [
            {"labels": {"job": "ray"}, "targets": ["10.0.0.1:8080", "10.0.0.2:8080"]},
            {"labels": {"job": "ray-dashboard"}, "targets": ["10.0.0.1:44227"]},
        ]
        return httpx.Response(200, text=json.dumps(groups))
    if request.url.path == "/metrics":
        if request.url.host == "10.0.0.2":
            raise httpx.ConnectError("going away", request=request)
        return httpx.Response(200, text=TEXT)
    query = request.url.params["query"]
    if query.startswith("up{"):  # the servers of this project's metrics whose last scrape failed
        down = [{"metric": {"instance": "10.0.0.2:8080", "job": "ray"}, "value": [1.0, "0"]}]
        return httpx.Response(200, json={"status": "success", "data": {"result": down}})
    name, _, selector = query.partition("{")
    assert name in NAMES and selector == 'namespace="prod"}'
    result = [
        {"metric": {"__name__": found, **dict(labels)}, "value": [1.0, str(value)]}
        for (found, labels), value in parse(TEXT)
        if found == name
    ]
    return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})


def test_endpoints_and_prometheus_give_the_same_counts() -> None:
    client = httpx.Client(transport=httpx.MockTransport(serving))
    direct = Endpoints("http://head:8265/", client=client).read()
    stored = Prometheus("http://prometheus:9090", 'namespace="prod"', client=client).read()
    for version in ("1", "2"):
        assert counts_of(direct, version) == counts_of(stored, version) == counts_of(reading(), version)
    assert failed_loads(direct) == failed_loads(stored)
    assert direct.missing == {"http://10.0.0.2:8080/metrics"}, "the dashboard lists it"
    assert stored.missing == {"10.0.0.2:8080"}, "its last scrape failed"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500, text="no"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"status": "error", "error": "bad query"}),
        httpx.Response(200, json=[{"targets": 3}]),
    ],
)
def test_what_does_not_answer_is_told_with_a_way_out(answer: httpx.Response) -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda request: answer))
    with pytest.raises(MetricSourceError, match="--metrics"):
        Endpoints("http://head:8265", client=client).read()
    with pytest.raises(MetricSourceError, match="--prometheus"):
        Prometheus("http://prometheus:9090", client=client).read()


def test_the_token_of_the_dashboard() -> None:
    assert auth_headers({"RAY_AUTH_TOKEN": "s3cret"}) == {"Authorization": "Bearer s3cret"}
    assert auth_headers({}) == {}


def test_the_histogram_is_the_services() -> None:
    assert list(BOUNDARIES_MS) == metrics._SECONDS_MS
