"""Tests of the protocols' own clients on the entire service: HAProxy, Ray Serve, replica, built-in model."""

from __future__ import annotations

import json

import httpx
import pytest
from tritonclient.http import InferenceServerClient

from tests.conftest import Service
from tests.contract import clients
from tests.contract.servers import SageMakerRuntime, over_tcp

pytestmark = pytest.mark.serve
TEXTS = ["I love this cream", "It ruined my skin, “really”"]
LABELS = ["POSITIVE", "NEGATIVE"]


@pytest.fixture(scope="module")
def scores(service: Service) -> list[float]:
    """Return the score of each text's label, by the native route."""
    answer = httpx.post(f"{service.url}/v1/classify", json={"inputs": TEXTS}, timeout=60).json()
    assert [result["label"] for result in answer["results"]] == LABELS
    return [pytest.approx(result["score"], abs=1e-5) for result in answer["results"]]


@pytest.fixture(scope="module")
def model(service: Service) -> str:
    name: str = httpx.get(f"{service.url}/v1/model").json()["name"]
    return name


def test_hugging_face(service: Service, scores: list[float]) -> None:
    answers = [clients.by_hugging_face(service.url, text) for text in TEXTS]
    assert [next(iter(answer.items())) for answer in answers] == list(zip(LABELS, scores, strict=True))


def test_triton(service: Service, model: str, scores: list[float]) -> None:
    with InferenceServerClient(service.url.removeprefix("http://"), network_timeout=60) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
        answer = clients.by_triton(client, model, TEXTS)
        statistics = client.get_inference_statistics(model)["model_stats"]
    assert answer.as_numpy("label").tolist() == [label.encode() for label in LABELS]
    assert answer.as_numpy("score").tolist() == scores
    assert statistics[0]["inference_count"] >= len(TEXTS)


def test_kserve(service: Service, model: str, scores: list[float]) -> None:
    answers = clients.by_kserve(service.url, model, TEXTS)
    assert answers["live"] and answers["ready"] and answers["model_ready"]
    for encoding in ("binary", "json", "answered in binary"):
        assert (answers[encoding]["label"], answers[encoding]["score"]) == (LABELS, scores)


def test_boto3(service: Service, scores: list[float]) -> None:
    body = "inputs\n" + "".join(f'"{text}"\n' for text in TEXTS)
    with over_tcp(SageMakerRuntime(service.url)) as runtime:
        client = clients.sagemaker(runtime)
        answer = client.invoke_endpoint(EndpointName="sentiment", ContentType="text/csv", Body=body.encode())
        rows = json.loads(answer["Body"].read())
        client.close()
    assert [(row["label"], row["score"]) for row in rows] == list(zip(LABELS, scores, strict=True))


def test_vllms_shape(service: Service, model: str, scores: list[float]) -> None:
    answer = httpx.post(f"{service.url}/classify", json={"model": model, "input": TEXTS}, timeout=60).json()
    assert [(row["label"], max(row["probs"])) for row in answer["data"]] == list(
        zip(LABELS, scores, strict=True)
    )


def test_health_checks_may_use_head(service: Service) -> None:
    for path in ("/", "/health", "/ping", "/v2/health/ready"):
        answer = httpx.head(service.url + path)
        assert (answer.status_code, answer.content) == (200, b"")
