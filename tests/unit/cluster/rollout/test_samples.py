"""From metrics to counts: Ray's endpoints and Prometheus give the same, and totals may begin anew."""

from __future__ import annotations

import json
import math

import httpx
import pytest

from cluster.rollout.errors import SourceFailed
from cluster.rollout.observations import BOUNDARIES_MS, FailedLoad
from cluster.rollout.samples import (
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
ray_sentiment_predictions_total{WorkerId="a",label="POSITIVE",version="1"} 60.0
ray_sentiment_predictions_total{WorkerId="a",label="NEGATIVE",version="1"} 30.0
# TYPE ray_sentiment_scores_total counter
ray_sentiment_scores_total{WorkerId="a",tenth="0.9",version="1"} 80.0
ray_sentiment_scores_total{WorkerId="a",tenth="0.5",version="1"} 10.0
# TYPE ray_sentiment_shadow_texts_total counter
ray_sentiment_shadow_texts_total{WorkerId="a",outcome="agree",version="2"} 7.0
ray_sentiment_shadow_texts_total{WorkerId="a",outcome="disagree",version="2"} 2.0
ray_sentiment_shadow_texts_total{WorkerId="a",outcome="dropped",version="2"} 50.0
# TYPE ray_sentiment_feedback_total counter
ray_sentiment_feedback_total{WorkerId="a",outcome="right",version="2"} 8.0
ray_sentiment_feedback_total{WorkerId="b",outcome="right",version="2"} 3.0
ray_sentiment_feedback_total{WorkerId="a",outcome="wrong",version="2"} 4.0
ray_sentiment_feedback_total{WorkerId="a",outcome="unknown",version="2"} 90.0
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
    assert counts.labels == {"NEGATIVE": 30, "POSITIVE": 60}
    assert counts.scores == (0, 0, 0, 0, 0, 10, 0, 0, 0, 80)
    by_end = dict(zip((*BOUNDARIES_MS, math.inf), counts.latency, strict=True))
    assert {end: count for end, count in by_end.items() if count} == {50: 70, 75: 10, math.inf: 14}
    other = counts_of(reading(), "2")
    assert (other.requests, other.errors) == (5, 5)
    assert (other.shadow_agree, other.shadow_disagree, other.shadow) == (7, 2, 9)
    assert (other.right, other.wrong) == (11, 4), "what no replica remembers says nothing"
    assert counts_of(reading(), None).requests == 0


def test_which_version_an_address_has_and_what_failed() -> None:
    assert version_of(reading(), "builtin:") == "1"
    assert version_of(reading(), "s3://new") == "2"
    assert version_of(reading(), "s3://nobody") is None
    assert failed_loads(reading()) == (FailedLoad("s3://bad", "digest-mismatch"),)


def series(**totals: float) -> Reading:
    return Reading({_key(worker): total for worker, total in totals.items()})


def _key(worker: str) -> Key:
    labels = {"WorkerId": worker, "route": "/predict", "status": "200", "version": "1"}
    return ("ray_sentiment_requests_total", frozenset(labels.items()))


@pytest.mark.parametrize(
    ("before", "after", "requests"),
    [
        (series(a=10), series(a=25), 15),
        (series(a=10), series(a=4), 4),  # the process began anew
        (series(a=10), series(a=12, b=7), 9),  # another replica came
        (series(a=10, b=5), series(b=6), 1),  # one went
    ],
)
def test_totals_that_rise_begin_anew_come_and_go(before: Reading, after: Reading, requests: int) -> None:
    assert counts_of(between(before, before.followed_by(after)), "1").requests == requests


def test_a_series_that_was_away_goes_on_where_it_was() -> None:
    first, without, again = series(a=10), series(b=1), series(a=12, b=1)
    kept = first.followed_by(without)
    assert counts_of(between(kept, kept.followed_by(again)), "1").requests == 2


def test_gauges_are_as_they_are_now() -> None:
    assert failed_loads(between(reading(), reading())) == (FailedLoad("s3://bad", "digest-mismatch"),)
    assert version_of(between(reading(), reading()), "s3://new") == "2"


def serving(request: httpx.Request) -> httpx.Response:
    """A dashboard, two nodes of which one is going away, and a Prometheus server that scraped the other."""
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
    name, _, selector = request.url.params["query"].partition("{")
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
    with pytest.raises(SourceFailed, match="--metrics"):
        Endpoints("http://head:8265", client=client).read()
    with pytest.raises(SourceFailed, match="--prometheus"):
        Prometheus("http://prometheus:9090", client=client).read()


def test_the_token_of_the_dashboard() -> None:
    assert auth_headers({"RAY_AUTH_TOKEN": "s3cret"}) == {"Authorization": "Bearer s3cret"}
    assert auth_headers({}) == {}


def test_the_histogram_is_the_services() -> None:
    assert list(BOUNDARIES_MS) == metrics._SECONDS_MS
