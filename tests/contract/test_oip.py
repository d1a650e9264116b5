"""Tests of the Open Inference Protocol v2: outputs, binary tensors, and the GET routes."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from serve_app import errors
from serve_app.errors import ServiceError
from serve_app.http.protocols import open_inference_model as oip_model
from serve_app.http.protocols import tensors
from serve_app.http.protocols.open_inference import OipResponse
from serve_app.settings import Settings
from tests.contract.fake_replica import FakeReplica, scores_of
from tests.contract.servers import in_process

LOVE, RUIN = "I love this cream", "It ruined my skin, “really”"
URL = "/v2/models/fake/infer"


@pytest.fixture
def replica() -> FakeReplica:
    return FakeReplica()


@pytest.fixture
async def client(replica: FakeReplica) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(replica, Settings(max_texts_per_request=4)) as client:
        yield client


def request(*texts: str, **changes: Any) -> dict[str, Any]:
    return {
        "inputs": [{"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}]
    } | changes


def elements(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def binary(
    tensor: bytes, count: int = 1, size: int | None = None, **changes: Any
) -> tuple[bytes, dict[str, str]]:
    """Return a body with a binary tensor after its JSON part, and the headers for it."""
    parameters = {"binary_data_size": len(tensor) if size is None else size}
    given = {"name": "text", "shape": [count], "datatype": "BYTES", "parameters": parameters}
    head = json.dumps({"inputs": [given], **changes}).encode()
    return head + tensor, {"inference-header-content-length": str(len(head))}


def outputs_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body = OipResponse.model_validate_json(answer.content)
    assert all(
        isinstance(value, int | float | str | bool)
        for output in body.outputs
        for value in (output.parameters or {}).values()
    ), "the protocol's parameters are no lists"
    return {output.name: output for output in body.outputs}


# --- outputs


async def test_each_output_is_answered_once_however_often_it_is_named(client: httpx.AsyncClient) -> None:
    names = ["scores", "label", "scores", "scores"]
    answer = await client.post(URL, json=request(LOVE, outputs=[{"name": name} for name in names]))
    assert list(outputs_of(answer)) == ["scores", "label"]


async def test_the_answer_does_not_grow_with_the_outputs_named(
    client: httpx.AsyncClient, replica: FakeReplica
) -> None:
    many = await client.post(URL, json=request(LOVE, outputs=[{"name": "scores"}] * 4_000))
    assert many.status_code == 422 and len(many.content) < 2000
    assert many.json()["errors"][0]["field"] == "/outputs"
    assert not replica.asked


@pytest.mark.parametrize("named", ["x" * 500_000, "“" * 200_000])
async def test_what_is_wrong_is_named_shortly(client: httpx.AsyncClient, named: str) -> None:
    tensor = request(LOVE)["inputs"][0]
    for body in (
        request(LOVE, outputs=[{"name": named}]),
        {"inputs": [tensor | {"datatype": named}]},
        {"inputs": [tensor | {"shape": [1] * 8_000}]},
    ):
        answer = await client.post(URL, json=body)
        assert answer.status_code == 422 and len(answer.content) < 2000


async def test_every_error_has_the_member_that_clients_read(
    client: httpx.AsyncClient, replica: FakeReplica
) -> None:
    replica.refusal = errors.QueueFullError("the queue is full", 1.6)
    full = await client.post(URL, json=request(LOVE))
    replica.refusal = None
    replica.failure = errors.ModelFailureError("the device thread has died")
    answers = [
        full,
        await client.post(URL, json=request(LOVE)),
        await client.get("/v2/health/ready"),
        await client.get("/v2/models/other"),
        await client.get("/v2/nothing"),
        await client.get(URL),
        await client.post(URL, content=b"{"),
    ]
    assert [answer.status_code for answer in answers] == [429, 500, 500, 404, 404, 405, 400]
    for answer in answers:
        assert answer.json()["error"] == answer.json()["detail"] != ""


# --- binary tensors


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/json", ""])
async def test_texts_as_a_binary_tensor(
    client: httpx.AsyncClient, replica: FakeReplica, content_type: str
) -> None:
    body, headers = binary(elements(LOVE.encode(), RUIN.encode()), 2)
    answer = await client.post(URL, content=body, headers=headers | {"content-type": content_type})
    assert replica.asked == [(LOVE, RUIN)]
    assert outputs_of(answer)["scores"].data == scores_of(LOVE) + scores_of(RUIN)


async def test_outputs_are_binary_as_the_request_or_the_output_says(client: httpx.AsyncClient) -> None:
    outputs = [{"name": "score", "parameters": {"binary_data": False}}, {"name": "label"}, {"name": "scores"}]
    body = request(LOVE, outputs=outputs, parameters={"binary_data_output": True}, id="mine")
    answer = await client.post(URL, json=body)
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    head, rest = json.loads(answer.content[:length]), answer.content[length:]
    score, label, scores = head["outputs"]
    assert head["id"] == "mine" and score["data"] == [max(scores_of(LOVE))] and "data" not in label
    size = label["parameters"]["binary_data_size"]
    assert rest[:size] == elements(b"NEGATIVE")
    assert rest[size:] == struct.pack("<3f", *scores_of(LOVE))
    assert scores["parameters"]["binary_data_size"] == 12 and scores["shape"] == [1, 3]


@pytest.mark.parametrize(
    ("given", "status", "field"),
    [
        (binary(elements(b"a"), size=4), 422, "/inputs/0/parameters/binary_data_size"),
        (binary(elements(b"a"), size=-1), 422, "/inputs/0/parameters/binary_data_size"),
        (binary(elements(b"a") + b"\0\0"), 422, "/inputs/0/data/1"),
        (binary(struct.pack("<I", 2**32 - 1) + b"a"), 422, "/inputs/0/data/0"),
        (binary(elements(b"a", b"\xff"), 2), 422, "/inputs/0/data/1"),
        (binary(elements(b"a"), 2), 422, "/inputs/0/shape"),
        (binary(elements(b"a", b" "), 2), 422, "/inputs/0/data/1"),
        (binary(elements(*[b"a"] * 5), 5), 413, None),
        (binary(elements(*[b""] * 200_000), 200_000), 413, None),
        (binary(b"", 0), 422, ""),
        ((b"{}", {"inference-header-content-length": "3"}), 422, "Inference-Header-Content-Length"),
        ((b"{}", {"inference-header-content-length": "-1"}), 422, "Inference-Header-Content-Length"),
        ((b"{}", {"inference-header-content-length": "0"}), 422, "Inference-Header-Content-Length"),
        ((b"{}", {"inference-header-content-length": "9" * 5000}), 422, "Inference-Header-Content-Length"),
        ((b"{}", {"inference-header-content-length": "two"}), 422, "Inference-Header-Content-Length"),
        ((b"{}{}", {"inference-header-content-length": "2"}), 422, "/inputs"),
        ((b"{{}}", {"inference-header-content-length": "2"}), 400, None),
    ],
)
async def test_binary_tensors_that_are_none(
    client: httpx.AsyncClient,
    replica: FakeReplica,
    given: tuple[bytes, dict[str, str]],
    status: int,
    field: str | None,
) -> None:
    body, headers = given
    answer = await client.post(URL, content=body, headers=headers)
    assert answer.status_code == status and len(answer.content) < 2000, answer.text
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field
    assert not replica.asked


async def test_bytes_are_no_json_without_the_header(client: httpx.AsyncClient) -> None:
    octets = {"content-type": "application/octet-stream"}
    assert (await client.post(URL, content=b"{}", headers=octets)).status_code == 415
    tensor = request(LOVE)["inputs"][0] | {"parameters": {"binary_data_size": 10}}
    missing = await client.post(URL, json={"inputs": [tensor]})
    assert missing.json()["errors"][0]["field"] == "/inputs/0/parameters/binary_data_size"
    del tensor["parameters"], tensor["data"]
    assert (await client.post(URL, json={"inputs": [tensor]})).json()["errors"][0][
        "field"
    ] == "/inputs/0/data"


@given(st.lists(st.text(max_size=20), max_size=8))
def test_a_bytes_tensor_is_read_as_it_was_written(texts: list[str]) -> None:
    assert tensors.read_texts(tensors.of_texts(texts), 8) == texts


@given(st.binary(max_size=100))
def test_any_bytes_are_a_tensor_or_refused(tensor: bytes) -> None:
    try:
        assert len(tensors.read_texts(tensor, 8)) <= 8
    except ServiceError as error:
        assert 400 <= error.status < 500


async def test_parameters_of_extensions_that_are_not_here_are_refused_by_name(
    client: httpx.AsyncClient,
) -> None:
    for parameters in ({"classification": 2}, {"shared_memory_region": "x"}):
        output = {"name": "scores", "parameters": parameters}
        answer = await client.post(URL, json=request(LOVE, outputs=[output]))
        [name] = parameters
        assert answer.json()["errors"][0]["field"] == f"/outputs/0/parameters/{name}"


# --- server and model


@pytest.mark.parametrize(
    ("method", "path", "model"),
    [
        ("GET", "/v2", oip_model.OipServer),
        ("GET", "/v2/health/live", oip_model.OipLive),
        ("GET", "/v2/health/ready", oip_model.OipReady),
        ("GET", "/v2/models/fake", oip_model.OipModelMetadata),
        ("GET", "/v2/models/fake/ready", oip_model.OipModelReady),
        ("GET", "/v2/models/fake/versions/7/ready", oip_model.OipModelReady),
        ("GET", "/v2/models/fake/config", oip_model.OipModelConfig),
        ("GET", "/v2/models/fake/versions/7/stats", oip_model.OipStatistics),
        ("GET", "/v2/models/stats", oip_model.OipStatistics),
    ],
)
async def test_the_get_routes_are_as_documented(
    client: httpx.AsyncClient, method: str, path: str, model: type[BaseModel]
) -> None:
    answer = await client.request(method, path)
    assert model.model_validate_json(answer.content).model_dump() == answer.json()
    head = await client.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_health_says_live_and_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    assert (await client.get("/v2/models/fake/ready")).json() == {"name": "fake", "ready": True}
