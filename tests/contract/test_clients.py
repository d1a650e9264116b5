"""Tests with the protocols' own clients in their default configuration, over TCP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from botocore.exceptions import ClientError
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from serve_app import errors
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.settings import Settings
from tests.contract import clients
from tests.contract.fake_replica import LABELS, FakeReplica, scores_of
from tests.contract.servers import SageMakerRuntime, over_tcp

TEXTS = ["I love this cream", "It ruined my skin, “really”"]


@pytest.fixture
def replica() -> FakeReplica:
    return FakeReplica()


@pytest.fixture
def url(replica: FakeReplica) -> Iterator[str]:
    with over_tcp(build_api(replica, Settings(max_texts_per_request=8), Metrics())) as url:
        yield url


@pytest.fixture
def triton(url: str) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def best_first(text: str) -> dict[str, float]:
    pairs = zip(LABELS, scores_of(text), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def test_hugging_face_gets_every_label_by_default_and_as_many_as_it_asks_for(url: str) -> None:
    everything = clients.by_hugging_face(url, TEXTS[0])
    assert everything == best_first(TEXTS[0])
    assert list(everything) == list(best_first(TEXTS[0]))
    two = clients.by_hugging_face(url, TEXTS[0], top_k=2, function_to_apply="softmax")
    assert two == dict(list(best_first(TEXTS[0]).items())[:2])


def test_hugging_face_reads_why_it_was_refused(url: str) -> None:
    with pytest.raises(Exception, match="the live model supports only 'softmax'") as refused:
        clients.by_hugging_face(url, TEXTS[0], function_to_apply="none")
    assert refused.value.response.status_code == 422  # type: ignore[attr-defined]


def test_triton_sends_and_gets_binary_tensors(triton: InferenceServerClient) -> None:
    answer = clients.by_triton(triton, "fake", TEXTS, request_id="mine-1", parameters={"segment": "creams"})
    assert answer.as_numpy("label").tolist() == [b"NEGATIVE", b"NEGATIVE"]
    assert answer.as_numpy("scores").tolist() == np.array([*map(scores_of, TEXTS)], np.float32).tolist()
    assert answer.as_numpy("score").dtype == np.float32
    assert answer.get_response()["id"] == "mine-1"
    assert all("data" not in output for output in answer.get_response()["outputs"])


def test_triton_gets_the_outputs_it_names_once_and_as_it_names_them(triton: InferenceServerClient) -> None:
    outputs = [
        clients.requested("scores", binary_data=False),
        clients.requested("label"),
        clients.requested("label"),
    ]
    answer = clients.by_triton(triton, "fake", TEXTS, outputs=outputs, model_version="7")
    assert [output["name"] for output in answer.get_response()["outputs"]] == ["scores", "label"]
    assert answer.as_numpy("label").tolist() == [b"NEGATIVE", b"NEGATIVE"]
    assert answer.get_output("scores")["data"] == scores_of(TEXTS[0]) + scores_of(TEXTS[1])
    assert json.loads(answer.get_output("scores")["parameters"]["labels"]) == list(LABELS)


def test_triton_learns_of_server_and_model(triton: InferenceServerClient, replica: FakeReplica) -> None:
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready("fake", "7")
    assert "binary_tensor_data" in triton.get_server_metadata()["extensions"]
    metadata, config = triton.get_model_metadata("fake"), triton.get_model_config("fake", "7")
    assert metadata["versions"] == ["7"]
    assert [tensor["name"] for tensor in config["output"]] == [
        tensor["name"] for tensor in metadata["outputs"]
    ]
    assert triton.get_model_repository_index() == [
        {"name": "fake", "version": "7", "state": "READY", "reason": ""}
    ]
    for _ in range(3):
        clients.by_triton(triton, "fake", TEXTS)
    for statistics in (triton.get_inference_statistics("fake"), triton.get_inference_statistics()):
        [model] = statistics["model_stats"]
        assert (model["execution_count"], model["inference_count"]) == (3, 6)
        assert model["inference_stats"]["compute_infer"] == {"count": 3, "ns": 9_000_000}
    replica.failure = errors.ModelFailureError("the device thread has died")
    assert triton.is_server_live() and not triton.is_server_ready() and not triton.is_model_ready("fake")


def test_triton_reads_why_it_was_refused(triton: InferenceServerClient) -> None:
    wrong = InferInput("text", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros([1], np.float32))
    with pytest.raises(InferenceServerException, match="BYTES, got 'FP32'"):
        triton.infer("fake", [wrong])
    with pytest.raises(InferenceServerException, match="the live model is 'fake'"):
        triton.get_model_metadata("other")
    with pytest.raises(InferenceServerException, match="classification"):
        clients.by_triton(triton, "fake", TEXTS, outputs=[clients.requested("scores", class_count=2)])
    with pytest.raises(InferenceServerException, match="has no route"):
        triton.load_model("fake")


def test_kserve_asks_in_every_encoding(url: str) -> None:
    answers = clients.by_kserve(url, "fake", TEXTS)
    assert (answers["live"], answers["ready"], answers["model_ready"]) == (True, True, True)
    scores = [pytest.approx(scores_of(text), abs=1e-6) for text in TEXTS]
    for encoding in ("binary", "json", "answered in binary"):
        assert answers[encoding]["label"] == ["NEGATIVE", "NEGATIVE"]
        assert answers[encoding]["scores"] == scores


@pytest.fixture
def runtime(url: str) -> Iterator[str]:
    with over_tcp(SageMakerRuntime(url)) as runtime:
        yield runtime


@pytest.mark.parametrize(
    ("content_type", "body", "accept", "answer"),
    [
        ("application/json", json.dumps({"inputs": TEXTS}), None, "application/json"),
        ("application/json", json.dumps({"inputs": TEXTS}), "text/csv", "text/csv"),
        ("text/csv", "inputs\n" + "".join(f'"{text}"\n' for text in TEXTS), None, "application/json"),
        (
            "application/jsonlines",
            "\n".join(json.dumps({"inputs": text}) for text in TEXTS),
            None,
            "application/jsonlines",
        ),
    ],
)
def test_boto3_invokes_the_endpoint(
    runtime: str, content_type: str, body: str, accept: str | None, answer: str
) -> None:
    client = clients.sagemaker(runtime)
    options = {"Accept": accept} if accept else {}
    got = client.invoke_endpoint(
        EndpointName="sentiment", ContentType=content_type, Body=body.encode(), **options
    )
    content = got["Body"].read().decode()
    assert got["ContentType"].partition(";")[0] == answer
    rows = {
        "application/json": lambda: [row["score"] for row in json.loads(content)],
        "application/jsonlines": lambda: [json.loads(line)["score"] for line in content.splitlines()],
        "text/csv": lambda: [float(line.split(",")[1]) for line in content.splitlines()],
    }[answer]()
    assert rows == [max(scores_of(text)) for text in TEXTS]
    client.close()


def test_boto3_reads_why_the_container_refused(runtime: str) -> None:
    client = clients.sagemaker(runtime)
    with pytest.raises(ClientError) as refused:
        client.invoke_endpoint(EndpointName="sentiment", ContentType="text/csv", Body=b"a,b\n1,2\n")
    response = refused.value.response
    assert response["Error"]["Code"] == "ModelError" and response["OriginalStatusCode"] == 422
    assert "'a', 'b'" in json.loads(response["OriginalMessage"])["detail"]
    client.close()


def test_openai_style_clients_get_vllms_shape(url: str) -> None:
    body = {"model": "fake", "input": TEXTS}
    answer = httpx.post(f"{url}/classify", json=body, headers={"x-request-id": "mine-1"}).json()
    assert [row["probs"] for row in answer["data"]] == [scores_of(text) for text in TEXTS]
