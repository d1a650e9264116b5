"""Tests of the HTTP contract: response shapes of all routes, status of every error, no text in the logs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import Response

from serve_app import errors
from serve_app.http import load_shedding
from serve_app.http.routes import build_api
from serve_app.http.schemas import ModelInfo
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import PredictionLogger, open_logger
from serve_app.settings import Settings
from tests.contract.fake_replica import LABELS, FakeReplica, scores_of
from train.prediction_log.reader import Log

LOVE, RUIN = "I love this cream", "It ruined my skin!"
JSON = {"content-type": "application/json"}


@pytest.fixture
def replica() -> FakeReplica:
    return FakeReplica()


@pytest.fixture
def limits() -> Settings:
    return Settings(max_texts_per_request=4, max_body_bytes=2000, max_chars_per_text=500)


@pytest.fixture
async def capture(tmp_path: Path) -> AsyncIterator[PredictionLogger]:
    settings = Settings(log_uri=str(tmp_path / "log"), log_privacy="full", log_flush_s=3600)
    capture = open_logger(settings, Metrics())
    assert capture is not None
    async with capture.running():
        yield capture


@pytest.fixture
async def client(
    replica: FakeReplica, limits: Settings, capture: PredictionLogger
) -> AsyncIterator[httpx.AsyncClient]:
    app = build_api(replica, limits, Metrics(), capture)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


def assert_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that the response is an RFC 9457 problem without Python details, and return its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"].endswith(slug)
    assert {"title", "detail", "request_id"} <= set(problem)
    assert "Traceback" not in answer.text and ".py" not in answer.text
    return problem


# --- native API


async def test_classify_answers_in_the_order_of_the_inputs(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/classify", json={"inputs": [LOVE, RUIN]}, headers={"x-request-id": "order-1"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body["request_id"] == "order-1"
    assert body["model"] == {"name": "fake", "version": "7"}
    for text, result in zip([LOVE, RUIN], body["results"], strict=True):
        expected = dict(zip(LABELS, scores_of(text), strict=True))
        assert result["scores"] == expected
        assert list(result["scores"].values()) == sorted(expected.values(), reverse=True)
        assert result["label"] == max(expected, key=expected.__getitem__)
        assert result["score"] == expected[result["label"]]
        assert result["tokens"] == len(text)
        assert result["truncated"] is False
    assert body["timing"] == {"tokenize_ms": 1.0, "queue_ms": 2.0, "forward_ms": 3.0, "total_ms": 6.0}
    assert answer.headers["x-model-version"] == "7"
    assert "forward;dur=3.00" in answer.headers["server-timing"]


async def test_one_text_top_k_and_segment(client: httpx.AsyncClient) -> None:
    body = {"inputs": LOVE, "top_k": 2, "segment": "creams"}
    [result] = (await client.post("/v1/classify", json=body)).json()["results"]
    assert len(result["scores"]) == 2


async def test_what_is_live(client: httpx.AsyncClient, limits: Settings) -> None:
    body = (await client.get("/v1/model")).json()
    assert body["name"] == "fake" and body["labels"] == list(LABELS) and body["uri"] == "file:///fake"
    assert body["limits"]["max_texts_per_request"] == limits.max_texts_per_request
    assert body["role"] == "champion" and body["canary"] == "file:///next" and body["digest"] == "0" * 64
    assert body["state"] == "failed" and body["failed"]["reason"] == "digest-mismatch"
    assert ModelInfo.model_validate(body)


async def test_the_deadline_travels(
    client: httpx.AsyncClient, replica: FakeReplica, limits: Settings
) -> None:
    before = time.monotonic()
    await client.post("/v1/classify", json={"inputs": LOVE}, headers={"x-request-timeout-ms": "1500"})
    await client.post("/v1/classify", json={"inputs": LOVE})
    after = time.monotonic()
    named, default = replica.deadlines
    assert before + 1.5 <= named <= after + 1.5
    assert before + limits.default_timeout_ms / 1000 <= default <= after + limits.default_timeout_ms / 1000


# --- prediction log and feedback


def captured(capture: PredictionLogger, tmp_path: Path) -> Log:
    """Close the writers and return the log that they wrote."""
    capture.predictions.close(patience_s=60)
    capture.feedback.close(patience_s=60)
    return Log(str(tmp_path / "log"))


async def test_every_route_is_captured(
    client: httpx.AsyncClient, capture: PredictionLogger, tmp_path: Path
) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [RUIN]}
    bodies = {
        "/v1/classify": {"inputs": [LOVE, RUIN], "segment": "creams"},
        "/invocations": {"inputs": LOVE, "parameters": {"segment": "soaps"}},
        "/v2/models/fake/infer": {"inputs": [tensor], "parameters": {"segment": "oils", "other": 1}},
        "/predict": {"inputs": LOVE},
    }
    for path, body in bodies.items():
        assert (await client.post(path, json=body, headers={"x-request-id": path})).status_code == 200
    assert (await client.post("/v1/classify", json={"inputs": " "})).status_code == 422

    rows = [row for batch in captured(capture, tmp_path).predictions() for row in batch.to_pylist()]

    assert [(row["request_id"], row["index"], row["segment"]) for row in rows] == [
        ("/v1/classify", 0, "creams"),
        ("/v1/classify", 1, "creams"),
        ("/invocations", 0, "soaps"),
        ("/v2/models/fake/infer", 0, "oils"),
        ("/predict", 0, None),
    ]
    assert [row["text"] for row in rows] == [LOVE, RUIN, LOVE, RUIN, LOVE]
    assert rows[0]["scores"] == pytest.approx(scores_of(LOVE)) and rows[0]["tokens"] == len(LOVE)
    assert {(row["model"], row["version"], row["role"]) for row in rows} == {("fake", "7", "champion")}
    assert all(row["latency_ms"] > 0 for row in rows)


async def test_feedback_is_stored_and_held_against_the_answers(
    client: httpx.AsyncClient, capture: PredictionLogger, tmp_path: Path
) -> None:
    asked = await client.post("/v1/classify", json={"inputs": [LOVE, RUIN]}, headers={"x-request-id": "r"})
    first, second = (result["label"] for result in asked.json()["results"])
    other = next(label for label in LABELS if label != second)
    said = [{"request_id": "r", "label": first}, {"request_id": "r", "index": 1, "label": other}]

    one = await client.post("/v1/feedback", json=said[0])
    several = await client.post("/v1/feedback", json=[*said, {"request_id": "gone", "label": first}])

    assert one.status_code == several.status_code == 202
    assert one.json() == {"accepted": 1, "right": 1, "wrong": 0, "unknown": 0}
    assert several.json() == {"accepted": 3, "right": 1, "wrong": 1, "unknown": 1}
    rows = [row for batch in captured(capture, tmp_path).feedback() for row in batch.to_pylist()]
    assert [(row["request_id"], row["index"], row["label"], row["source"]) for row in rows] == [
        ("r", 0, first, "api"),
        ("r", 0, first, "api"),
        ("r", 1, other, "api"),
        ("gone", 0, first, "api"),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"request_id": "r", "label": "GOOD"}, "/label"),
        ([{"request_id": "r", "label": "NEGATIVE"}, {"request_id": "r", "label": "GOOD"}], "/1/label"),
        ({"request_id": "r", "index": -1, "label": "NEGATIVE"}, "/index"),
        ({"request_id": "", "label": "NEGATIVE"}, "/request_id"),
        ([{"label": "NEGATIVE"}], "/0/request_id"),
        ([], ""),
    ],
)
async def test_feedback_of_the_wrong_shape(client: httpx.AsyncClient, body: object, field: str) -> None:
    problem = assert_problem(await client.post("/v1/feedback", json=body), 422, "invalid")
    assert problem["errors"][0]["field"] == field


async def test_feedback_without_a_log_says_how_to_get_one(replica: FakeReplica, limits: Settings) -> None:
    app = build_api(replica, limits, Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        refused = await client.post("/v1/feedback", json={"request_id": "r", "label": "NEGATIVE"})
        assert "SENTIMENT_LOG_URI" in assert_problem(refused, 404, "not-found")["detail"]
        assert (await client.post("/v1/classify", json={"inputs": LOVE})).status_code == 200


async def test_only_the_sampled_share_is_kept_and_feedback_is_still_compared(
    replica: FakeReplica, limits: Settings, capture: PredictionLogger, tmp_path: Path
) -> None:
    draws = iter([0.49, 0.5, 0.0, 0.99])
    app = build_api(replica, limits, Metrics(), replace(capture, fraction=0.5, rng=lambda: next(draws)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for number in range(4):
            await client.post("/v1/classify", json={"inputs": LOVE}, headers={"x-request-id": f"{number}"})
        said = await client.post("/v1/feedback", json={"request_id": "3", "label": "NEUTRAL"})
    assert said.json()["wrong"] == 1
    [batch] = captured(capture, tmp_path).predictions()
    assert batch["request_id"].to_pylist() == ["0", "2"]


# --- APIs of other servers


async def test_tei_single_and_batch(client: httpx.AsyncClient) -> None:
    single = (await client.post("/predict", json={"inputs": LOVE})).json()
    assert single == [
        {"score": score, "label": label}
        for label, score in sorted(zip(LABELS, scores_of(LOVE), strict=True), key=lambda pair: -pair[1])
    ]
    batch = (await client.post("/predict", json={"inputs": [[LOVE], [RUIN]]})).json()
    assert [row[0]["score"] for row in batch] == [max(scores_of(LOVE)), max(scores_of(RUIN))]
    assert (await client.post("/predict", json={"inputs": [LOVE]})).json() == single


async def test_tei_says_what_it_does_not_do(client: httpx.AsyncClient) -> None:
    pair = await client.post("/predict", json={"inputs": [LOVE, RUIN]})
    assert_problem(pair, 422, "invalid")
    raw = await client.post("/predict", json={"inputs": LOVE, "raw_scores": True})
    assert assert_problem(raw, 422, "invalid")["errors"][0]["field"] == "/raw_scores"
    long = await client.post("/predict", json={"inputs": "x " * 60, "truncate": False})
    assert_problem(long, 413, "too-large")
    assert (await client.post("/predict", json={"inputs": "x " * 60, "truncate": True})).status_code == 200


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (json.dumps({"inputs": [LOVE, RUIN]}), "application/json"),
        (json.dumps({"inputs": [LOVE, RUIN]}), "application/json; charset=utf-8"),
        (f"inputs\n{LOVE}\n{RUIN}\n", "text/csv"),
    ],
)
async def test_sagemaker_invocations(client: httpx.AsyncClient, body: str, media_type: str) -> None:
    answer = await client.post("/invocations", content=body, headers={"content-type": media_type})
    assert [row["score"] for row in answer.json()] == [max(scores_of(LOVE)), max(scores_of(RUIN))]


async def test_sagemaker_lines_text_and_top_k(client: httpx.AsyncClient) -> None:
    lines = "\n".join(json.dumps({"inputs": text}) for text in (LOVE, RUIN))
    answer = await client.post(
        "/invocations", content=lines, headers={"content-type": "application/jsonlines"}
    )
    assert answer.headers["content-type"] == "application/jsonlines"
    assert [json.loads(line)["score"] for line in answer.text.splitlines()] == [
        max(scores_of(LOVE)),
        max(scores_of(RUIN)),
    ]
    plain = await client.post("/invocations", content=LOVE, headers={"content-type": "text/plain"})
    assert plain.json() == [{"label": "NEGATIVE", "score": max(scores_of(LOVE))}]
    everything = await client.post("/invocations", json={"inputs": LOVE, "parameters": {"top_k": None}})
    assert len(everything.json()[0]) == 3


def tensor(*texts: str, **changes: Any) -> dict[str, Any]:
    one = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)} | changes
    return {"id": "oip-1", "inputs": [one]}


@pytest.mark.parametrize("path", ["/v2/models/fake/infer", "/v2/models/fake/versions/7/infer"])
async def test_open_inference_protocol(client: httpx.AsyncClient, path: str) -> None:
    body = (await client.post(path, json=tensor(LOVE, RUIN))).json()
    assert (body["model_name"], body["model_version"], body["id"]) == ("fake", "7", "oip-1")
    outputs = {output["name"]: output for output in body["outputs"]}
    assert outputs["label"]["data"] == ["NEGATIVE", "NEGATIVE"]
    assert outputs["score"]["data"] == [max(scores_of(LOVE)), max(scores_of(RUIN))]
    assert outputs["scores"]["shape"] == [2, 3]
    assert outputs["scores"]["data"] == scores_of(LOVE) + scores_of(RUIN)


async def test_open_inference_protocol_outputs_and_faults(client: httpx.AsyncClient) -> None:
    url = "/v2/models/fake/infer"
    only = (await client.post(url, json=tensor(LOVE) | {"outputs": [{"name": "label"}]})).json()
    assert [output["name"] for output in only["outputs"]] == ["label"]
    for body, field in [
        (tensor(LOVE, datatype="FP32"), "/inputs/0/datatype"),
        (tensor(LOVE, shape=[3]), "/inputs/0/shape"),
        (tensor(LOVE) | {"outputs": [{"name": "logits"}]}, "/outputs/0/name"),
    ]:
        problem = assert_problem(await client.post(url, json=body), 422, "invalid")
        assert problem["errors"][0]["field"] == field


async def test_health_and_metadata_routes(client: httpx.AsyncClient, replica: FakeReplica) -> None:
    routes = ["/ping", "/health", "/v2/health/live", "/v2/health/ready", "/v2/models/fake/ready"]
    assert [(await client.get(route)).status_code for route in routes] == [200] * 5
    replica.failure = errors.ModelFailureError("the device thread has died")
    assert [(await client.get(route)).status_code for route in routes] == [500, 500, 200, 500, 500]
    assert (await client.get("/v2")).json()["name"] == "sentiment-service"
    metadata = (await client.get("/v2/models/fake")).json()
    assert metadata["versions"] == ["7"] and metadata["outputs"][2]["shape"] == [-1, 3]


# --- errors


@pytest.mark.parametrize(
    ("body", "status", "slug", "field"),
    [
        (b"", 400, "bad-json", None),
        (b"{", 400, "bad-json", None),
        (b"\xff\xfe", 400, "bad-json", None),
        (b'"text"', 422, "invalid", ""),
        (b"[]", 422, "invalid", ""),
        (b"{}", 422, "invalid", "/inputs"),
        (b'{"inputs":null}', 422, "invalid", "/inputs"),
        (b'{"inputs":3}', 422, "invalid", "/inputs"),
        (b'{"inputs":[]}', 422, "invalid", "/inputs"),
        (b'{"inputs":["a",3]}', 422, "invalid", "/inputs/1"),
        (b'{"inputs":[["a"]]}', 422, "invalid", "/inputs/0"),
        (b'{"inputs":""}', 422, "invalid", "/inputs"),
        (b'{"inputs":["a"," \\n\\t"]}', 422, "invalid", "/inputs/1"),
        (b'{"inputs":"a","top_k":0}', 422, "invalid", "/top_k"),
        (b'{"inputs":"a","top_k":"1"}', 422, "invalid", "/top_k"),
        (b'{"inputs":"a","other/key":1}', 422, "invalid", "/other~1key"),
        (b'{"inputs":["a","b","c","d","e"]}', 413, "too-large", None),
        (json.dumps({"inputs": "x" * 501}).encode(), 413, "too-large", None),
        (json.dumps({"inputs": "x" * 3000}).encode(), 413, "too-large", None),
    ],
)
async def test_bad_bodies(
    client: httpx.AsyncClient, replica: FakeReplica, body: bytes, status: int, slug: str, field: str | None
) -> None:
    problem = assert_problem(await client.post("/v1/classify", content=body, headers=JSON), status, slug)
    if field is not None:
        assert [fault["field"] for fault in problem["errors"]] == [field]
    assert not replica.asked


async def test_an_endless_body_is_read_no_further_than_the_limit(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000:
            sent += 1000
            yield b" " * 1000

    assert_problem(await client.post("/v1/classify", content=endless(), headers=JSON), 413, "too-large")
    assert sent <= 4000


@pytest.mark.parametrize(
    "route", ["/v1/classify", "/predict", "/", "/classify", "/invocations", "/v2/models/fake/infer"]
)
async def test_other_content_types_are_named(client: httpx.AsyncClient, route: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    problem = assert_problem(await client.post(route, content=b"a=b", headers=form), 415, "unsupported-media")
    assert "application/json" in problem["detail"]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan", ""])
async def test_a_deadline_that_is_none(client: httpx.AsyncClient, value: str) -> None:
    headers = {"x-request-timeout-ms": value}
    problem = assert_problem(
        await client.post("/v1/classify", json={"inputs": LOVE}, headers=headers), 422, "invalid"
    )
    assert problem["errors"][0]["field"] == "X-Request-Timeout-Ms"


@pytest.mark.parametrize(
    ("failure", "status", "slug"),
    [
        (errors.DeadlineExceededError("no answer within 5 ms"), 504, "deadline-exceeded"),
        (errors.ModelFailureError("the model failed"), 500, "model-failure"),
        (errors.NotReadyError("no model yet"), 503, "not-ready"),
        (ValueError(f"cannot read {LOVE}"), 500, "internal"),
    ],
)
async def test_failures_behind_the_door(
    client: httpx.AsyncClient, replica: FakeReplica, failure: Exception, status: int, slug: str
) -> None:
    replica.failure = failure
    answer = await client.post("/v1/classify", json={"inputs": LOVE})
    assert_problem(answer, status, slug)
    assert LOVE not in answer.text


@pytest.mark.parametrize(("wait_s", "header"), [(0.2, "1"), (1.2, "1"), (1.6, "2"), (7.4, "7")])
async def test_a_full_queue_says_when_to_come_again(
    client: httpx.AsyncClient, replica: FakeReplica, wait_s: float, header: str
) -> None:
    replica.refusal = errors.QueueFullError("the queue is full", wait_s)
    answer = await client.post("/v1/classify", json={"inputs": LOVE})
    assert assert_problem(answer, 429, "queue-full")["retry_after_s"] == wait_s
    assert answer.headers["retry-after"] == header
    assert not replica.asked


@pytest.fixture
async def outside(replica: FakeReplica, limits: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the load-shedding middleware; requests that it passes on are answered 418."""

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await Response(status_code=418)(scope, receive, send)

    build_api(replica, limits, Metrics())
    [middleware] = load_shedding.middlewares()
    app = middleware.cls(behind, *middleware.args, **middleware.kwargs)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


ASKING = (
    "/v1/classify",
    "/predict",
    "/",
    "/classify",
    "/invocations",
    "/v2/models/fake/infer",
    "/v2/models/a/versions/1/infer",
)


@pytest.mark.parametrize("path", ASKING)
async def test_a_full_queue_sheds_what_asks_and_nothing_else(
    outside: httpx.AsyncClient, client: httpx.AsyncClient, replica: FakeReplica, path: str
) -> None:
    assert (await outside.post(path, json={"inputs": LOVE})).status_code == 418
    replica.refusal = errors.QueueFullError("the queue is full", 1.6)
    shed = await outside.post(path, json={"inputs": LOVE}, headers={"x-request-id": "shed-1"})
    problem = assert_problem(shed, 429, "queue-full")
    assert (shed.headers["x-request-id"], problem["request_id"]) == ("shed-1", "shed-1")
    routed = await client.post(path, json={"inputs": LOVE}, headers={"x-request-id": "shed-1"})
    for name in ("retry-after", "content-type", "content-length"):
        assert shed.headers[name] == routed.headers[name]
    assert shed.content == routed.content
    assert (await outside.get(path)).status_code == 418
    assert (await outside.post("/v1/other")).status_code == 418
    replica.refusal = errors.NotReadyError("no model yet")
    assert (await outside.post(path, json={"inputs": LOVE})).status_code == 418


async def test_a_request_without_a_key_is_not_told_of_the_queue(replica: FakeReplica) -> None:
    replica.refusal = errors.QueueFullError("the queue is full", 1.6)
    build_api(replica, Settings(api_keys=(SecretStr("key"),)), Metrics())
    app = load_shedding.LoadSheddingMiddleware(Response(status_code=418))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answers = [
            await client.post("/v1/classify", headers=headers) for headers in ({}, {"x-api-key": "key"})
        ]
    assert [answer.status_code for answer in answers] == [418, 429]


async def test_unknown_routes_methods_and_models(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/v1/nothing"), 404, "not-found")
    assert (await client.get("/v1/classify")).status_code == 405
    assert_problem(await client.get("/v2/models/other"), 404, "not-found")
    assert_problem(await client.post("/v2/models/fake/versions/8/infer", json=tensor(LOVE)), 404, "not-found")


async def test_nothing_of_the_text_is_logged(
    client: httpx.AsyncClient, replica: FakeReplica, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "correct horse battery staple"
    with caplog.at_level(logging.DEBUG):
        await client.post("/v1/classify", json={"inputs": secret})
        await client.post("/v1/classify", json={"inputs": [secret, 3]})
        for failure in (errors.ModelFailureError("it failed"), ValueError(secret)):
            replica.failure = failure
            await client.post("/v1/classify", json={"inputs": secret})
    assert caplog.records, "failures are logged"
    assert not [record for record in caplog.records if secret in str(record.__dict__)]
    assert any(getattr(record, "request_id", None) for record in caplog.records)


# --- documentation pages


async def test_openapi_states_the_limits_and_has_examples_that_work(
    client: httpx.AsyncClient, limits: Settings
) -> None:
    document = (await client.get("/openapi.json")).json()
    assert str(limits.max_texts_per_request) in document["info"]["description"]
    schema = document["components"]["schemas"]["ClassifyRequest"]
    one, several = schema["properties"]["inputs"]["anyOf"]
    assert one["maxLength"] == limits.max_chars_per_text
    assert several["maxItems"] == limits.max_texts_per_request
    tried = 0
    for path, operations in document["paths"].items():
        for name, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            assert name == "get" or content or path == "/v2/repository/index"
            for media_type, media in content.items():
                values = [example["value"] for example in media.get("examples", {}).values()]
                bodies = [json.dumps(value) for value in values] or [media["example"]]
                for example in bodies:
                    url = path.replace("{name}", "fake").replace("{version}", "7")
                    answer = await client.post(url, content=example, headers={"content-type": media_type})
                    assert answer.is_success, (path, media_type, answer.text)
                    tried += 1
    assert tried >= 8
    assert set(document["paths"]["/v1/classify"]["post"]["responses"]) == {
        *("200", "400", "401", "408", "413", "415", "422", "429", "500", "503", "504", "default")
    }


async def test_page_and_docs_ask_no_other_host(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    docs = await client.get("/docs")
    for text in (page.text, docs.text):
        assert 'src="http' not in text and 'href="http' not in text
    for asset in ("docs-assets/swagger-ui-bundle.js", "docs-assets/swagger-ui.css", "web/app.js"):
        assert (await client.get(f"/{asset}")).status_code == 200
