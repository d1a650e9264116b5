"""Tests of the text-embeddings-inference and vLLM APIs, and of HEAD requests by health checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from serve_app import errors
from serve_app.http.protocols.tei import TeiInfo, TeiResponse
from serve_app.http.protocols.vllm import VllmResponse
from serve_app.settings import Settings
from tests.contract.fake_replica import LABELS, FakeReplica, scores_of
from tests.contract.servers import in_process

LOVE, RUIN = "I love this cream", "It ruined my skin!"


@pytest.fixture
def replica() -> FakeReplica:
    return FakeReplica()


@pytest.fixture
async def client(replica: FakeReplica) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process(replica, Settings(max_texts_per_request=4, max_chars_per_text=500)) as client:
        yield client


def refusal(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    first: dict[str, str] = answer.json()["errors"][0]
    return first


@pytest.mark.parametrize(
    "body",
    [{"inputs": LOVE}, {"inputs": [[LOVE], [RUIN]]}, {"inputs": [LOVE]}, {"inputs": LOVE, "truncate": True}],
)
async def test_the_root_answers_as_predict_does(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    root, predict = await client.post("/", json=body), await client.post("/predict", json=body)
    assert root.status_code == 200 and root.content == predict.content
    TypeAdapter(TeiResponse).validate_json(root.content)


async def test_the_inference_apis_parameters_make_a_list_of_lists(client: httpx.AsyncClient) -> None:
    body = {"inputs": LOVE, "parameters": {"top_k": 2}}
    [rows] = (await client.post("/", json=body)).json()
    assert [row["label"] for row in rows] == ["NEGATIVE", "NEUTRAL"]
    for parameters, field in (
        ({"top_k": 0}, "top_k"),
        ({"function_to_apply": "none"}, "function_to_apply"),
        ({"k": 1}, "k"),
    ):
        answer = await client.post("/", json={"inputs": LOVE, "parameters": parameters})
        assert refusal(answer)["field"] == f"/parameters/{field}"


@pytest.mark.parametrize(
    ("inputs", "field", "said"),
    [
        ([LOVE, RUIN], "/inputs", "a pair of texts"),
        ([[LOVE], [LOVE, RUIN]], "/inputs/1", "a pair of texts"),
        ([[LOVE, LOVE, LOVE]], "/inputs/0", "3 texts"),
        ([[]], "/inputs/0", "0 texts"),
    ],
)
async def test_pairs_are_refused_by_name(
    client: httpx.AsyncClient, inputs: list[Any], field: str, said: str
) -> None:
    fault = refusal(await client.post("/predict", json={"inputs": inputs}))
    assert (
        fault["field"] == field and said in fault["message"] and "pairs are not supported" in fault["message"]
    )


async def test_truncate_cuts_a_text_over_the_limit_of_characters(
    client: httpx.AsyncClient, replica: FakeReplica
) -> None:
    long = "x" * 600
    for body in ({"inputs": long}, {"inputs": long, "truncate": False}, {"inputs": long, "truncate": None}):
        assert (await client.post("/predict", json=body)).status_code == 413
    body = {"inputs": [[long], [LOVE]], "truncate": True}
    assert (await client.post("/predict", json=body)).status_code == 200
    assert replica.asked == [("x" * 500, LOVE)]
    over = {"inputs": "x" * (Settings().max_body_bytes + 1), "truncate": True}
    assert (await client.post("/predict", json=over)).status_code == 413


async def test_info_has_teis_shape(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/info")).json()
    assert TeiInfo.model_validate(answer).model_dump() == answer
    assert answer["model_type"]["classifier"]["id2label"] == dict(zip("012", LABELS, strict=True))
    assert (answer["max_client_batch_size"], answer["max_input_length"]) == (4, 8)
    assert answer["max_batch_tokens"] == 512


async def test_info_is_for_those_who_have_a_key(replica: FakeReplica) -> None:
    async with in_process(replica, Settings(api_keys=("key",))) as client:  # type: ignore[arg-type]
        for path in ("/info", "/v2/models/stats", "/v2/models/fake/config"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers={"x-api-key": "key"})).status_code == 200
        assert (await client.post("/v2/repository/index")).status_code == 401


async def test_health_checks_may_use_head(client: httpx.AsyncClient, replica: FakeReplica) -> None:
    paths = ["/health", "/ping", "/v2/health/ready", "/v2/models/fake/ready", "/v2/health/live", "/", "/docs"]
    assert [(await client.head(path)).status_code for path in paths] == [200] * 7
    replica.failure = errors.ModelFailureError("the device thread has died")
    assert [(await client.head(path)).status_code for path in paths] == [500] * 4 + [200] * 3


# --- vLLM


@pytest.mark.parametrize("given", [LOVE, [LOVE, RUIN]])
async def test_vllms_shape(client: httpx.AsyncClient, given: str | list[str]) -> None:
    texts = [given] if isinstance(given, str) else given
    body = {"model": "fake", "input": given, "truncate_prompt_tokens": -1, "user": "somebody"}
    answer = await client.post("/classify", json=body, headers={"x-request-id": "mine"})
    parsed = VllmResponse.model_validate_json(answer.content)
    assert parsed.model_dump() == answer.json()
    assert (parsed.id, parsed.object, parsed.model) == ("classify-mine", "list", "fake")
    assert [row.index for row in parsed.data] == list(range(len(texts)))
    assert [row.probs for row in parsed.data] == [scores_of(text) for text in texts]
    assert {(row.label, row.num_classes) for row in parsed.data} == {("NEGATIVE", 3)}
    assert parsed.usage.prompt_tokens == parsed.usage.total_tokens == sum(map(len, texts))


async def test_vllm_without_a_model_means_the_live_one(client: httpx.AsyncClient) -> None:
    assert (await client.post("/classify", json={"input": LOVE})).json()["model"] == "fake"
    other = await client.post("/classify", json={"model": "other", "input": LOVE})
    assert other.status_code == 404 and "'fake'" in other.json()["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"input": [1, 2]}, "/input/0"),
        ({"input": []}, "/input"),
        ({"input": [LOVE, " "]}, "/input/1"),
        ({"use_activation": False}, "/use_activation"),
        ({"activation": False}, "/activation"),
        ({"softmax": False}, "/softmax"),
        ({"truncate_prompt_tokens": 3}, "/truncate_prompt_tokens"),
        ({"truncation_side": "left"}, "/truncation_side"),
        ({"add_special_tokens": False}, "/add_special_tokens"),
    ],
)
async def test_vllms_options_that_change_the_scores_are_refused_by_name(
    client: httpx.AsyncClient, replica: FakeReplica, changes: dict[str, Any], field: str
) -> None:
    fault = refusal(await client.post("/classify", json={"model": "fake", "input": LOVE} | changes))
    assert fault["field"] == field and not replica.asked
