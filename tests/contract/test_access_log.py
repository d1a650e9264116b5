"""Tests of the access log: one line per sampled response, with status and cost, and without any text."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import Response

from serve_app import errors
from serve_app.http import load_shedding
from serve_app.http.routes import build_api
from serve_app.interface import PredictionBatch
from serve_app.metrics import Metrics
from serve_app.settings import Settings
from tests.contract.fake_replica import FakeReplica

SECRET = "correct horse battery staple"
JSON = {"inputs": [SECRET, "x"]}
FIELDS = {
    *("request_id", "method", "route", "status", "texts", "tokens"),
    *("queue_ms", "forward_ms", "total_ms", "version", "key_id"),
}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return the records of the access log; the list grows as requests are answered."""
    caplog.set_level(logging.INFO, logger="ray.serve.access")
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "ray.serve.access":
                records.append(record)

    caplog.handler.addFilter(lambda record: Collector.emit(collector, record) or True)
    collector = Collector()
    return records


@asynccontextmanager
async def service(replica: FakeReplica | None = None, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service with these settings."""
    app = build_api(replica or FakeReplica(), Settings(**options), Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


REQUESTS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/v1/classify", {"json": JSON}, 200, "/v1/classify"),
    ("POST", "/predict", {"json": {"inputs": SECRET}}, 200, "/predict"),
    ("POST", "/invocations", {"json": {"inputs": SECRET}}, 200, "/invocations"),
    ("POST", "/v2/models/fake/infer", {"json": {}}, 422, "/v2/models/{name}/infer"),
    ("POST", "/v2/models/other/infer", {"json": {}}, 404, "/v2/models/{name}/infer"),
    ("POST", "/v1/classify", {"content": b"{"}, 400, "/v1/classify"),
    ("GET", "/v1/classify", {}, 405, "/v1/classify"),
    ("GET", "/v1/model", {}, 200, "/v1/model"),
    ("GET", "/ping", {}, 200, "/ping"),
    ("GET", f"/v1/{SECRET}", {}, 404, ""),
    ("GET", f"/v1/model?text={SECRET}", {}, 200, "/v1/model"),
    ("GET", "/", {}, 200, "/"),
    ("GET", "/web/app.js", {}, 200, "/web"),
    ("GET", "/docs", {}, 200, "/docs"),
    ("GET", "/openapi.json", {}, 200, "/openapi.json"),
]


@pytest.mark.parametrize("keys", [(), (SecretStr("key"),)], ids=["open", "keys"])
async def test_each_answer_is_one_line(lines: list[logging.LogRecord], keys: tuple[SecretStr, ...]) -> None:
    headers = {"x-api-key": "key"} if keys else {}
    async with service(access_log_fraction=1, api_keys=keys) as client:
        for number, (method, path, body, status, _) in enumerate(REQUESTS):
            given = headers | {"x-request-id": f"r{number}"}
            answer = await client.request(method, path, headers=given, **body)
            assert answer.status_code == status, path
    assert [record.__dict__["request_id"] for record in lines] == [f"r{n}" for n in range(len(REQUESTS))]
    for record, (method, path, _, status, route) in zip(lines, REQUESTS, strict=True):
        fields = record.__dict__
        assert fields.keys() >= FIELDS
        assert (fields["method"], fields["status"], fields["route"]) == (method, status, route), path
        is_open = not keys or path in ("/ping", "/", "/web/app.js")
        assert fields["total_ms"] >= 0 and len(fields["key_id"]) == (0 if is_open else 8)
        assert SECRET not in str(fields) and "horse" not in record.getMessage()
    first = lines[0].__dict__
    assert (first["texts"], first["tokens"]) == (2, len(SECRET) + 1)
    assert (first["queue_ms"], first["forward_ms"], first["version"]) == (2.0, 3.0, "7")


async def test_a_request_without_an_id_is_logged_under_the_one_it_is_answered(
    lines: list[logging.LogRecord],
) -> None:
    async with service(access_log_fraction=1, api_keys=(SecretStr("key"),)) as client:
        for path, headers in (("/v1/classify", {"x-api-key": "key"}), ("/v1/classify", {}), ("/x", {})):
            answer = await client.post(path, content=b"", headers=headers)
            assert answer.json()["request_id"] == lines[-1].__dict__["request_id"]
    assert len(lines) == 3
    assert [record.__dict__["status"] for record in lines] == [400, 401, 401]
    assert lines[0].__dict__["key_id"] and not lines[1].__dict__["key_id"]


async def test_the_sample_follows_from_the_request_id(lines: list[logging.LogRecord]) -> None:
    ids = [f"{shape}{number}" for shape in ("", "request-", "a" * 40) for number in range(400)]
    expected = [one for one in ids if int(hashlib.sha256(one.encode()).hexdigest()[:8], 16) < 0.25 * 2**32]
    assert 200 < len(expected) < 400, "a quarter of 1,200, within seven standard deviations"
    async with service(access_log_fraction=0.25) as client:
        for one in ids:
            await client.get("/ping", headers={"x-request-id": one})
    assert [record.__dict__["request_id"] for record in lines] == expected


@pytest.mark.parametrize("failure", [errors.ModelFailureError("it failed"), ValueError(SECRET)])
async def test_what_fails_is_always_logged(lines: list[logging.LogRecord], failure: Exception) -> None:
    replica = FakeReplica()
    async with service(replica, access_log_fraction=0) as client:
        await client.post("/v1/classify", json=JSON)
        await client.post("/v1/classify", content=b"{")
        assert not lines
        replica.failure = failure
        await client.post("/v1/classify", json=JSON, headers={"x-request-id": "failed"})
    [record] = lines
    assert (record.__dict__["request_id"], record.__dict__["status"]) == ("failed", 500)
    assert record.__dict__["texts"] == 2 and SECRET not in str(record.__dict__)


@pytest.mark.parametrize(("fraction", "count"), [(1, 50), (0.5, None), (0, 0)])
async def test_what_is_shed_is_logged_at_the_same_share(
    lines: list[logging.LogRecord], fraction: float, count: int | None
) -> None:
    replica = FakeReplica(refusal=errors.QueueFullError("the queue is full", 1.6))
    build_api(replica, Settings(access_log_fraction=fraction, api_keys=(SecretStr("key"),)), Metrics())
    app = load_shedding.LoadSheddingMiddleware(Response(status_code=418))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for number in range(50):
            headers = {"x-request-id": f"r{number}", "x-api-key": "key"}
            assert (await client.post("/v2/models/fake/infer", headers=headers)).status_code == 429
    assert len(lines) == count if count is not None else 0 < len(lines) < 50
    for record in lines:
        fields = record.__dict__
        assert fields.keys() >= FIELDS and fields["status"] == 429 and len(fields["key_id"]) == 8
        assert (fields["route"], fields["version"]) == ("/v2/models/{name}/infer", "7")


async def test_a_client_that_leaves_is_logged_as_499(lines: list[logging.LogRecord]) -> None:
    asked = asyncio.Event()

    class Stuck(FakeReplica):
        async def classify(self, texts: Any, **_: Any) -> PredictionBatch:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

    async with service(Stuck(), access_log_fraction=1) as client:
        waiting = asyncio.create_task(client.post("/v1/classify", json=JSON))
        await asyncio.wait_for(asked.wait(), timeout=60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    [record] = lines
    assert (record.__dict__["status"], record.__dict__["texts"]) == (499, 2)


_ON_A_FULL_DISK = """
import asyncio, sys, httpx
from ray.serve._private.common import ServeComponentType
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig
from serve_app.replica.deployment import ClassifierReplica

out = sys.stdout
configure_component_logger(
    component_name="classifier", component_id="full", component_type=ServeComponentType.REPLICA,
    logging_config=LoggingConfig(encoding="JSON", logs_dir=sys.argv[1], enable_access_log=False),
    max_bytes=1 << 20, backup_count=1, buffer_size=1,
)

async def main():
    app = ClassifierReplica().__serve_build_asgi_app__()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return [(await client.get("/v2/health/live")).status_code for _ in range(3)]

out.write(str(asyncio.run(main())))
"""


def test_a_full_disk_fails_no_request(tmp_path: Path) -> None:
    (tmp_path / "replica_classifier_full.log").symlink_to("/dev/full")
    environment = os.environ | {"SENTIMENT_ACCESS_LOG_FRACTION": "1", "RAY_SERVE_LOG_TO_STDERR": "0"}
    command = [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[200, 200, 200]", done.stderr[-2000:]
