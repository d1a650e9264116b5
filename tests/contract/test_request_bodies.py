"""Tests of request bodies on every route: encodings, byte order marks, broken characters, blanks, uploads."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.serve._private.http_util import RequestIdMiddleware

from serve_app.http.load_shedding import LoadSheddingMiddleware
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.settings import Settings
from tests.contract.fake_replica import FakeReplica

LOVE = "I love this cream"
LIMITS = Settings(max_body_bytes=2000, max_chars_per_text=5000)
ASKING = {
    ("/v1/classify", "application/json"): {"inputs": [LOVE]},
    ("/predict", "application/json"): {"inputs": LOVE},
    ("/invocations", "application/json"): {"inputs": LOVE},
    ("/invocations", "application/jsonlines"): {"inputs": LOVE},
    ("/invocations", "text/csv"): LOVE,
    ("/invocations", "text/plain"): LOVE,
    ("/v2/models/fake/infer", "application/json"): {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [LOVE]}]
    },
}
JSON = [(path, body) for (path, media_type), body in ASKING.items() if "json" in media_type]
BOM = b"\xef\xbb\xbf"


class CountingMetrics(Metrics):
    """Metrics that record the outcomes of requests."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[tuple[str, int]] = []

    def request(self, route: str, status: int, seconds: float, **tags: Any) -> None:
        self.ended.append((route, status))
        super().request(route, status, seconds, **tags)


@pytest.fixture
def replica() -> FakeReplica:
    return FakeReplica()


@pytest.fixture
def metrics() -> CountingMetrics:
    return CountingMetrics()


@pytest.fixture
async def app(replica: FakeReplica, metrics: CountingMetrics, tmp_path: Path) -> AsyncIterator[Any]:
    """Yield the application as Serve runs it: load shedding, Serve's own middleware, then the routes."""
    settings = LIMITS.model_copy(update={"log_uri": str(tmp_path / "log")})
    capture = open_logger(settings, metrics)
    assert capture is not None
    async with capture.running():
        yield LoadSheddingMiddleware(RequestIdMiddleware(build_api(replica, settings, metrics, capture)))


@pytest.fixture
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


def encoded(body: Any) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-zlib.MAX_WBITS)


# --- compressed bodies


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("", bytes),
    ],
)
@pytest.mark.parametrize(("route", "body"), ASKING.items())
async def test_compressed_bodies_are_read(
    client: httpx.AsyncClient,
    replica: FakeReplica,
    encoding: str,
    compress: Callable[[bytes], bytes],
    route: tuple[str, str],
    body: Any,
) -> None:
    path, media_type = route
    headers = {"content-type": media_type, "content-encoding": encoding}
    answer = await client.post(path, content=compress(encoded(body)), headers=headers)
    assert answer.status_code == 200, answer.text
    assert replica.asked == [(LOVE,)]


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/feedback", "/predict", "/invocations"])
@pytest.mark.parametrize(
    ("encoding", "content", "status"),
    [
        ("br", b"{}", 415),
        ("gzip, gzip", b"{}", 415),
        ("zstd" * 1000, b"{}", 415),
        ("gzip", b"{}", 400),
        ("gzip", zlib.compress(b"{}"), 400),
        ("deflate", b"{}", 400),
        ("gzip", gzip.compress(b"{}" * 50, mtime=0)[:-1], 400),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b" " * 2001, mtime=0), 413),
        ("deflate", zlib.compress(b" " * 1_000_000), 413),
        ("deflate", raw_deflate(b" " * 1_000_000), 413),
    ],
)
async def test_compressed_bodies_that_are_refused(
    client: httpx.AsyncClient, replica: FakeReplica, path: str, encoding: str, content: bytes, status: int
) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = await client.post(path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 1000 and not replica.asked


# --- text


@pytest.mark.parametrize(("route", "body"), ASKING.items())
async def test_a_byte_order_mark_is_skipped(
    client: httpx.AsyncClient, replica: FakeReplica, route: tuple[str, str], body: Any
) -> None:
    path, media_type = route
    answer = await client.post(path, content=BOM + encoded(body), headers={"content-type": media_type})
    assert answer.status_code == 200, answer.text
    assert replica.asked == [(LOVE,)]


async def test_feedback_with_a_byte_order_mark(client: httpx.AsyncClient) -> None:
    for said in ({"request_id": "r", "label": "NEGATIVE"}, [{"request_id": "r", "label": "NEGATIVE"}]):
        answer = await client.post("/v1/feedback", content=BOM + encoded(said))
        assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"nice \ud83d", "nice \ufffd"),
        (r"\ud83d\ude00 \ude00\ud83d", "\U0001f600 \ufffd\ufffd"),
        (r"\ud83d\ud83d\ude00\ude00", "\ufffd\U0001f600\ufffd"),
        (r"\\ud83d \ud83d\n\"\\", '\\ud83d \ufffd\n"\\'),
        (r"\ud83d\\ude00", "\ufffd\\ude00"),
    ],
)
@pytest.mark.parametrize(("path", "body"), JSON)
async def test_half_a_character_is_replaced(
    client: httpx.AsyncClient, replica: FakeReplica, escaped: str, text: str, path: str, body: Any
) -> None:
    media_type = next(media_type for (asked, media_type), b in ASKING.items() if asked == path and b is body)
    content = encoded(body).replace(LOVE.encode(), escaped.encode())
    answer = await client.post(path, content=content, headers={"content-type": media_type})
    assert answer.status_code == 200, answer.text
    assert replica.asked == [(text,)]


@pytest.mark.parametrize(
    "body", [rb'{"inputs":"\ud83d}', rb'{"inputs":"a\ud8"}', b'{"inputs":"\x00\\ud83d"}']
)
async def test_half_a_character_in_what_is_no_json(client: httpx.AsyncClient, body: bytes) -> None:
    assert (await client.post("/v1/classify", content=body)).status_code == 400


@pytest.mark.parametrize(
    "blank",
    ["\u200b", "\ufeff\ufeff", "\u2060 \u200d\t", "\u00ad", "\u200e\u202e\n", "\ufe0f", "\x00", "\u3164"],
)
@pytest.mark.parametrize(("route", "body"), ASKING.items())
async def test_what_shows_nothing_is_blank(
    client: httpx.AsyncClient, replica: FakeReplica, route: tuple[str, str], body: Any, blank: str
) -> None:
    path, media_type = route
    content = json.dumps(body, ensure_ascii=False) if not isinstance(body, str) else body
    escaped = blank if isinstance(body, str) else json.dumps(blank)[1:-1]
    answer = await client.post(
        path, content=content.replace(LOVE, escaped).encode(), headers={"content-type": media_type}
    )
    assert answer.status_code == 422, answer.text
    assert not replica.asked


async def test_what_shows_something_is_not_blank(client: httpx.AsyncClient, replica: FakeReplica) -> None:
    texts = ["\u200b!", "👍🏽", "‏مرحبا", "\u200d❤️", "。"]
    answer = await client.post("/v1/classify", json={"inputs": texts})
    assert answer.status_code == 200 and replica.asked == [tuple(texts)]


# --- user text in errors


@pytest.mark.parametrize("path", [path for path, _ in ASKING])
async def test_errors_repeat_64_characters_at_most(client: httpx.AsyncClient, path: str) -> None:
    headers = {"content-type": "x" * 500, "x-request-timeout-ms": "y" * 500}
    answers = [
        await client.post(path, content=b"{}", headers={name: value}) for name, value in headers.items()
    ]
    answers.append(await client.post(path, content=b'{"%s":1}' % (b"z" * 500)))
    answers.append(await client.get("/" + "v" * 500))
    for answer in answers:
        assert 400 <= answer.status_code < 500
        assert not any(letter * 65 in answer.text for letter in "xyzv"), answer.text


async def test_twenty_faults_are_listed_and_the_others_counted(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/v1/classify", json={"inputs": [1] * 500})).json()
    assert [fault["field"] for fault in problem["errors"]] == [f"/inputs/{index}" for index in range(20)]
    # The validator also reports the other branch of the union, a single text; that fault is not listed.
    assert problem["errors_omitted"] == 480
    few = (await client.post("/v1/classify", json={"inputs": [LOVE, 1, 2]})).json()
    assert [fault["field"] for fault in few["errors"]] == ["/inputs/1", "/inputs/2"]
    assert "errors_omitted" not in few


async def test_json_of_too_many_values_is_refused_before_it_is_parsed(replica: FakeReplica) -> None:
    app = build_api(replica, Settings(), Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.post("/v1/classify", json={"inputs": [1] * 100_000})
        assert answer.status_code == 413 and "10000 JSON values" in answer.json()["detail"]
        commas = await client.post("/v1/classify", json={"inputs": ['[{"\\",' * 1000] * 64})
        assert commas.status_code == 200


# --- X-Request-ID


@pytest.mark.parametrize(
    "given",
    [
        [],
        [b""],
        [b"two words"],
        [b"\xff\xfe"],
        ["né".encode()],
        [b"tab\there"],
        [b"a" * 129],
        [b"a" * 60_000],
        [b"one", b"two"],
        [b"good-1"],
    ],
)
@pytest.mark.parametrize("content", [b'{"inputs":"x"}', b"{"])
async def test_a_request_has_one_id_in_header_body_and_log(
    app: Any, client: httpx.AsyncClient, replica: FakeReplica, given: list[bytes], content: bytes
) -> None:
    headers = [(b"x-request-id", value) for value in given]
    answer = await client.post("/v1/classify", content=content, headers=headers)
    [named] = answer.headers.get_list("x-request-id")
    assert answer.json()["request_id"] == named
    assert named.isascii() and named.isprintable() and 0 < len(named) <= 128 and " " not in named
    assert given != [b"good-1"] or named == "good-1"


async def test_serve_logs_the_id_that_is_answered(replica: FakeReplica) -> None:
    logged: list[bytes] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        logged.extend(dict(scope["headers"])[b"x-request-id"].split())  # as Serve reads it for its log
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(LoadSheddingMiddleware(RequestIdMiddleware(behind)))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for given in ([b"one", b"two"], [b"\xff"], []):
            headers = [(b"x-request-id", value) for value in given]
            answer = await client.get("/", headers=headers)
            assert answer.headers.get_list("x-request-id") == [logged.pop().decode()]


# --- uploads that do not end


class Upload:
    """ASGI client that sends parts of a body, and then either nothing more or a disconnect."""

    def __init__(self, path: str, *parts: bytes, leaves: bool, timeout_ms: int | None = None) -> None:
        self._messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        self._leaves = leaves
        self.headers = [(b"content-type", b"application/json"), (b"x-request-id", b"upload-1")]
        if timeout_ms is not None:
            self.headers.append((b"x-request-timeout-ms", b"%d" % timeout_ms))
        self._path = path
        self.sent: list[dict[str, Any]] = []

    async def run(self, app: Any) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": b"",
            "http_version": "1.1",
            "headers": self.headers,
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        if self._leaves:
            return {"type": "http.disconnect"}
        await asyncio.Event().wait()
        raise AssertionError

    async def _send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


UPLOADING = ["/v1/classify", "/v1/feedback", "/predict", "/invocations", "/v2/models/fake/infer"]


@pytest.mark.parametrize("path", UPLOADING)
async def test_a_client_that_leaves_during_its_upload_is_no_error(
    app: Any,
    metrics: CountingMetrics,
    replica: FakeReplica,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    with caplog.at_level(logging.INFO, logger="ray.serve"):
        await Upload(path, b'{"inputs":', leaves=True).run(app)
    assert [status for _, status in metrics.ended] == [499]
    assert not caplog.records and not replica.asked


@pytest.mark.parametrize("path", UPLOADING)
async def test_an_upload_that_does_not_end_by_the_deadline_is_408(
    app: Any, metrics: CountingMetrics, replica: FakeReplica, path: str
) -> None:
    upload = Upload(path, b'{"inputs":', leaves=False, timeout_ms=20)
    await asyncio.wait_for(upload.run(app), 10)
    assert [status for _, status in metrics.ended] == [408]
    start, body = upload.sent
    headers = dict(start["headers"])
    assert start["status"] == 408 and headers[b"connection"] == b"close"
    problem = json.loads(body["body"])
    assert problem["status"] == 408 and problem["request_id"] == "upload-1"
    assert "X-Request-Timeout-Ms" in problem["detail"] and not replica.asked


async def test_the_default_deadline_covers_the_upload(replica: FakeReplica) -> None:
    app = build_api(replica, LIMITS.model_copy(update={"default_timeout_ms": 20}), Metrics())
    upload = Upload("/v1/classify", b'{"inputs":', leaves=False)
    await asyncio.wait_for(upload.run(app), 10)
    assert upload.sent[0]["status"] == 408
