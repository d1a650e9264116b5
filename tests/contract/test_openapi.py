"""Tests of the OpenAPI document: it is valid and complete, matches the responses, and generates a client."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import SecretStr

from serve_app.dev_server.launcher import free_port
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.settings import Settings
from tests.contract.fake_replica import LIVE, FakeReplica

KEY = "s3cret"
TEXT = "I love this cream"
PAGES = {"/", "/docs", "/openapi.json"}
"""Pages for people, and the document itself: their GET responses are not part of the document."""

Document = dict[str, Any]


def build(folder: Path, *keys: str) -> FastAPI:
    settings = Settings(api_keys=tuple(SecretStr(key) for key in keys), log_uri=str(folder / "log"))
    metrics = Metrics()
    return build_api(FakeReplica(), settings, metrics, open_logger(settings, metrics))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of the service over TCP, with an API key and without a model."""
    port = free_port()
    app = build(tmp_path_factory.mktemp("service"), KEY)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def document(url: str) -> Document:
    answer = httpx.get(f"{url}/openapi.json", headers={"x-api-key": KEY})
    found: Document = answer.json()
    return found


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (method, path, operation) of every operation of the document."""
    for path, methods in document["paths"].items():
        yield from ((method.upper(), path, operation) for method, operation in methods.items())


# --- the document


def test_it_is_valid_with_and_without_keys(document: Document, tmp_path: Path) -> None:
    validate(document)
    validate(build(tmp_path).openapi())


def test_every_route_of_the_application_is_in_it(document: Document, tmp_path: Path) -> None:
    served = {
        (method, route.path)
        for route in build(tmp_path).routes
        if isinstance(route, APIRoute)
        for method in route.methods - {"HEAD"}
        if not (method == "GET" and route.path in PAGES)
    }
    assert {(method, path) for method, path, _ in operations(document)} == served


def test_operations_have_short_ids_of_their_own_and_a_tag(document: Document) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    for name in ids:
        assert re.fullmatch(r"[a-z][a-z0-9_]{2,39}", name)
        assert not re.match(r"(get|post|guarded)_", name), f"{name}: give the route its line in the table"
    assert {"classify", "feedback", "tei_predict", "sagemaker_invocations", "oip_infer"} <= set(ids)
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for _, _, operation in operations(document) for tag in operation["tags"]} == tags


def test_path_parameters_are_described(document: Document) -> None:
    for _, path, operation in operations(document):
        declared = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path))


def test_errors_are_problems_and_bodies_have_schemas(document: Document) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for _, path, operation in operations(document):
        errors = {
            status: response["content"]
            for status, response in operation["responses"].items()
            if status == "default" or int(status) >= 400
        }
        assert errors and all(content == problem for content in errors.values()), path
        for media in operation.get("requestBody", {}).get("content", {}).values():
            assert media["schema"]


def test_keys_are_asked_for_where_they_are_needed(document: Document, tmp_path: Path) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme"), scheme.get("name")) for scheme in schemes.values()} == {
        ("http", "bearer", None),
        ("apiKey", None, "X-API-Key"),
    }
    app = build(tmp_path, KEY)
    for method, path, operation in operations(document):
        asked = {name for one in operation.get("security", []) for name in one}
        is_open = "health" in path or path == "/ping"
        assert asked == (set() if is_open else set(schemes)), (method, path)
    without = build(tmp_path).openapi()
    assert "securitySchemes" not in without["components"]
    assert not any("security" in operation for _, _, operation in operations(without))
    assert app.openapi() == app.openapi()


# --- responses


def example_of(operation: dict[str, Any]) -> Any:
    """Return the first JSON example of the request body, or None if the operation has none."""
    media = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return None if media is None else next(iter(media["examples"].values()))["value"]


def check(document: Document, schema: dict[str, Any], body: Any) -> None:
    """Raise if the body does not match a schema of the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(body)


def closed(node: Any) -> Any:
    """Return the document with every object limited to its declared properties."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    limited = {key: closed(value) for key, value in node.items()}
    return limited | {"additionalProperties": False} if isinstance(node.get("properties"), dict) else limited


def test_answers_are_as_the_document_says(document: Document, url: str) -> None:
    exact = closed(document)
    checked = 0
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:
        for method, path, operation in operations(exact):
            target = path.replace("{name}", LIVE.name).replace("{version}", LIVE.version)
            answer = client.request(method, target, json=example_of(operation))
            response = operation["responses"][str(answer.status_code)]
            assert answer.is_success, (path, answer.text)
            if "content" not in response:
                assert answer.content == b"", path
                continue
            schema = response["content"][answer.headers["content-type"]]["schema"]
            assert schema, path
            check(exact, schema, answer.json())
            checked += 1
        assert checked > 15
        for method, path, operation in operations(exact):
            target = path.replace("{name}", "other").replace("{version}", "0")
            wrong = client.request(method, target, content=b"{")
            if wrong.is_success:
                continue
            assert str(wrong.status_code) in operation["responses"], (path, wrong.status_code)
            check(exact, exact["components"]["schemas"]["Problem"], wrong.json())


# --- a generated client

GENERATOR = {
    "post_hooks": [],
    # The generated client encodes JSON bodies only; it sends these content types as bytes.
    "content_type_overrides": dict.fromkeys(
        ("application/jsonlines", "text/csv", "text/plain"), "application/octet-stream"
    ),
}


@pytest.fixture(scope="module")
def package(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """Yield the package that openapi-python-client generates from the document."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "config.json").write_text(json.dumps(GENERATOR))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"]
    command += ["--path", "openapi.json", "--config", "config.json"]
    command += ["--meta", "none", "--output-path", "sentiment_client"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("sentiment_client")
    sys.path.remove(str(folder))


def module_of(operation: dict[str, Any]) -> ModuleType:
    """Return the module of the generated client that calls the operation."""
    tag = operation["tags"][0].replace("-", "_")
    return importlib.import_module(f"sentiment_client.api.{tag}.{operation['operationId']}")


def call(operation: dict[str, Any], client: Any, path: str) -> Any:
    """Call an operation with the document's example, converted to the types of the generated client."""
    names = re.findall(r"{(\w+)}", path)
    arguments: dict[str, Any] = {"client": client}
    example = example_of(operation)
    if example is not None:
        ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        name = {"FeedbackBody": "Feedback"}.get(title := ref.rsplit("/", 1)[-1], title)
        models = importlib.import_module("sentiment_client.models")
        arguments["body"] = getattr(models, name).from_dict(example)
    values = {"name": LIVE.name, "version": LIVE.version}
    return module_of(operation).sync_detailed(*(values[name] for name in names), **arguments)


def test_a_generated_client_calls_every_operation(package: ModuleType, document: Document, url: str) -> None:
    client = package.AuthenticatedClient(base_url=url, token=KEY, raise_on_unexpected_status=True)
    problem = importlib.import_module("sentiment_client.models").Problem
    parsed: dict[str, Any] = {}
    with client:
        for _, path, operation in operations(document):
            answer = call(operation, client, path)
            assert answer.status_code in (200, 202), (path, answer.content)
            empty = "content" not in operation["responses"][str(answer.status_code.value)]
            assert (answer.parsed is None) == empty and not isinstance(answer.parsed, problem), path
            parsed[operation["operationId"]] = answer.parsed
    assert [result.label for result in parsed["classify"].results] == ["NEGATIVE", "NEGATIVE"]
    assert parsed["feedback"].accepted == 1
    assert parsed["tei_predict"][0].label == "NEGATIVE"
    assert parsed["oip_infer"].outputs[0].data == ["NEGATIVE"]
    assert parsed["live_model"].name == LIVE.name


def test_a_generated_client_gets_problems(package: ModuleType, document: Document, url: str) -> None:
    models = importlib.import_module("sentiment_client.models")
    [operation] = [one for _, _, one in operations(document) if one["operationId"] == "classify"]
    body = models.ClassifyRequest.from_dict({"inputs": " "})
    for token, status in ((KEY, 422), ("wrong", 401)):
        with package.AuthenticatedClient(base_url=url, token=token) as client:
            answer = module_of(operation).sync_detailed(client=client, body=body)
        assert answer.status_code == status and isinstance(answer.parsed, models.Problem)
        assert answer.parsed.status == status
