"""Tests of API keys and the access log on the real service: through HAProxy and Serve's own proxy."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.dev_server.launcher import Plan, free_port, serving
from tests.conftest import ROOT

pytestmark = pytest.mark.serve
PATIENCE_S = 60
TEXT = "I love this cream"
PATHS = ("/health", "/ping", "/v2/health/live", "/v2/health/ready", "/", "/-/healthz", "/-/routes")
"""Paths that do not require a key."""


@dataclass(frozen=True)
class Keyed:
    """Service with the key `first` in a file, and its logs."""

    url: str
    keys: Path
    logs: Path

    def lines(self) -> list[dict[str, Any]]:
        """Return the access log of every replica."""
        records = [
            json.loads(line)
            for log in self.logs.glob("replica_*.log")
            for line in log.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        return [record for record in records if record["filename"] == "access_log.py"]


@pytest.fixture(scope="module", params=[True, False], ids=["HAProxy", "Serve's proxy"])
def keyed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "keys").write_text("mobile: first\n")
    logging = {"encoding": "JSON", "enable_access_log": False, "logs_dir": str(folder / "logs")}
    plan = Plan(
        port=free_port(),
        dashboard_port=free_port(),
        one_hop=request.param,
        config={"logging_config": logging},
        environment={
            "SENTIMENT_API_KEYS_FILE": str(folder / "keys"),
            "SENTIMENT_ACCESS_LOG_FRACTION": "1",
            "SENTIMENT_MAX_QUEUE_ITEMS": "64",
        },
    )
    with serving(plan, print):
        yield Keyed(f"http://127.0.0.1:{plan.port}", folder / "keys", folder / "logs")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SENTIMENT_API_KEYS", " , ", "is set but holds no key"),
        ("SENTIMENT_API_KEYS_FILE", "", "is set but blank"),
        ("SENTIMENT_API_KEYS_FILE", "/nonexistent/keys", "No such file"),
    ],
)
def test_the_service_does_not_start_without_the_keys_that_are_set(
    variable: str, value: str, said: str
) -> None:
    command = [sys.executable, "-m", "serve_app"]
    command += ["--port", str(free_port()), "--dashboard-port", str(free_port())]
    environment = os.environ | {variable: value}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and variable in line and said in line


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_without_a_key_nothing_tells_of_the_model(keyed: Keyed) -> None:
    with httpx.Client(base_url=keyed.url, headers={"x-api-key": "first"}) as client:
        model = client.get("/v1/model").raise_for_status().json()
    secrets = {model["name"], model["uri"], model["digest"], *model["labels"]}
    for path in (*PATHS, "/docs", "/openapi.json", "/v2", "/v1/model", "/v2/models/other/ready", "/nothing"):
        answer = httpx.get(keyed.url + path)
        assert answer.status_code == (200 if path in PATHS else 401), path
        told = "" if path == "/" else answer.text + str(answer.headers)
        assert not [secret for secret in secrets if secret in told], path


async def test_each_answer_is_one_line_of_the_access_log(keyed: Keyed) -> None:
    rng = random.Random(20)
    small, large = {"inputs": TEXT}, {"inputs": [f"{TEXT} {number}" for number in range(32)]}
    kinds: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", "/v1/classify", small, {"x-api-key": "first"}),
        ("POST", "/v1/classify", large, {"x-api-key": "first"}),
        ("POST", "/predict", small, {"authorization": "Bearer first"}),
        ("POST", "/invocations", large, {"x-api-key": "first"}),
        ("POST", "/v1/classify", small, {}),
        ("POST", "/v1/classify", {"inputs": 3}, {"x-api-key": "first"}),
        ("GET", "/v1/model", None, {"x-api-key": "first"}),
        ("GET", "/v2/models/other", None, {"x-api-key": "first"}),
        ("GET", "/nothing", None, {"x-api-key": "first"}),
        ("GET", "/health", None, {}),
        ("GET", "/", None, {}),
    ]
    asked = [rng.choice(kinds) for _ in range(600)]
    gate = asyncio.Semaphore(48)
    async with httpx.AsyncClient(base_url=keyed.url, timeout=PATIENCE_S) as client:

        async def ask(number: int, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
            if number % 2:
                headers = headers | {"x-request-id": f"given-{number}"}
            async with gate:
                return await client.request(method, path, json=body, headers=headers)

        answers = await asyncio.gather(*(ask(number, *kind) for number, kind in enumerate(asked)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses.keys() >= {200, 401, 404, 422, 429} and max(statuses) < 500, statuses

    ids = {answer.headers["x-request-id"]: answer for answer in answers}
    assert len(ids) == len(answers)
    until(lambda: len({line["request_id"] for line in keyed.lines()} & ids.keys()) == len(ids), "lines")
    lines = [line for line in keyed.lines() if line["request_id"] in ids]
    assert len(lines) == len(ids), "no answer has two lines"
    for line in lines:
        answer = ids[line["request_id"]]
        assert line["status"] == answer.status_code and TEXT not in str(line)
        if line["route"] == "/v1/classify" and answer.status_code == 200:
            body = answer.json()
            assert line["tokens"] == sum(result["tokens"] for result in body["results"])
            assert (line["key_id"], line["texts"]) == ("mobile", len(body["results"]))
            assert line["forward_ms"] == body["timing"]["forward_ms"]
            assert line["version"] == answer.headers["x-model-version"]


def test_a_generated_client_calls_the_real_service(keyed: Keyed, tmp_path: Path) -> None:
    document = httpx.get(f"{keyed.url}/openapi.json", headers={"x-api-key": "first"})
    (tmp_path / "openapi.json").write_bytes(document.content)
    (tmp_path / "config.json").write_text(json.dumps({"post_hooks": []}))
    generate = [str(ROOT / ".venv/bin/openapi-python-client"), "generate", "--path", "openapi.json"]
    generate += ["--config", "config.json", "--meta", "none", "--output-path", "sentiment_client"]
    subprocess.run(generate, cwd=tmp_path, check=True, capture_output=True)
    script = f"""
from sentiment_client import AuthenticatedClient
from sentiment_client.api.native import classify
from sentiment_client.models import ClassifyRequest
client = AuthenticatedClient(base_url={keyed.url!r}, token="first")
answer = classify.sync(client=client, body=ClassifyRequest(inputs=["I love this cream", "It ruined my skin"]))
print(*(result.label for result in answer.results))
"""
    python = [str(ROOT / ".venv/bin/python"), "-c", script]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["POSITIVE", "NEGATIVE"], done.stderr


def test_a_key_is_exchanged_while_the_service_runs(keyed: Keyed) -> None:
    def status(key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(f"{keyed.url}/v1/classify", json={"inputs": TEXT}, headers=headers).status_code

    assert (status("first"), status("second")) == (200, 401)
    for content, valid, invalid in (
        ("web: second\n", "second", "first"),
        ("mobile: first\n", "first", "second"),
    ):
        new = keyed.keys.with_name("new")
        new.write_text(content)
        new.replace(keyed.keys)
        until(lambda valid=valid: status(valid) == 200, "the new key is valid")  # type: ignore[misc]
        assert status(invalid) == 401
