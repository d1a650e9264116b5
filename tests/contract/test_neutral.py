"""Tests of NEUTRAL answers through every protocol: below the threshold, above it, and without a threshold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.batching.admission import Priority
from serve_app.http.routes import build_api
from serve_app.http.schemas import ModelInfo
from serve_app.interface import LiveModel, Prediction, PredictionBatch, Timing
from serve_app.metrics import Metrics
from serve_app.model.card import Card, read_card
from serve_app.prediction_log.logger import open_logger
from serve_app.settings import Settings
from tests.contract.fake_replica import LIVE, FakeReplica
from train.prediction_log.reader import Log

CLEAR, UNCLEAR = "clear", "unclear"
SCORES = {CLEAR: [0.05, 0.95], UNCLEAR: [0.625, 0.375]}
TWO_LABELS = replace(LIVE, labels=("NEGATIVE", "POSITIVE"))
WITH_NEUTRAL = replace(TWO_LABELS, neutral_below=0.8, languages=("en",), license="mit")


@dataclass
class TwoLabelReplica(FakeReplica):
    """Replica with known scores for two texts."""

    model: LiveModel = WITH_NEUTRAL

    @property
    def live(self) -> LiveModel:
        return self.model

    async def classify(
        self, texts: Sequence[str], *, deadline: float, tenant: str = "", priority: Priority | None = None
    ) -> PredictionBatch:
        results = [Prediction(SCORES[text], tokens=1, truncated=False) for text in texts]
        return PredictionBatch(self.model, results, Timing(0, 0, 0))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = build_api(TwoLabelReplica(), Settings(), Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, body: Any) -> Any:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_native_answer_keeps_the_scores_of_the_model(client: httpx.AsyncClient) -> None:
    clear, unclear = (await post(client, "/v1/classify", {"inputs": [CLEAR, UNCLEAR]}))["results"]
    assert (clear["label"], clear["score"]) == ("POSITIVE", 0.95)
    assert (unclear["label"], unclear["score"]) == ("NEUTRAL", 0.625)
    assert unclear["scores"] == {"NEGATIVE": 0.625, "POSITIVE": 0.375}


async def test_hugging_faces_lists_begin_with_the_label_of_the_answer(client: httpx.AsyncClient) -> None:
    neutral = {"label": "NEUTRAL", "score": 0.625}
    model = [{"label": "NEGATIVE", "score": 0.625}, {"label": "POSITIVE", "score": 0.375}]
    assert await post(client, "/predict", {"inputs": UNCLEAR}) == [neutral, *model]
    first_of = [row[0]["label"] for row in await post(client, "/predict", {"inputs": [[CLEAR], [UNCLEAR]]})]
    assert first_of == ["POSITIVE", "NEUTRAL"]
    limited = {"inputs": UNCLEAR, "parameters": {"top_k": 2}}
    assert await post(client, "/predict", limited) == [[neutral, model[0]]]
    assert await post(client, "/invocations", {"inputs": [CLEAR, UNCLEAR]}) == [
        {"label": "POSITIVE", "score": 0.95},
        neutral,
    ]


async def test_the_tensor_and_class_protocols(client: httpx.AsyncClient) -> None:
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": [CLEAR, UNCLEAR]}
    outputs = (await post(client, "/v2/models/fake/infer", {"inputs": [tensor]}))["outputs"]
    by_name = {output["name"]: output for output in outputs}
    assert by_name["label"]["data"] == ["POSITIVE", "NEUTRAL"]
    assert by_name["score"]["data"] == [0.95, 0.625]
    assert by_name["scores"]["shape"] == [2, 2]
    assert json.loads(by_name["scores"]["parameters"]["labels"]) == ["NEGATIVE", "POSITIVE"]
    data = (await post(client, "/classify", {"model": "fake", "input": [CLEAR, UNCLEAR]}))["data"]
    assert [row["label"] for row in data] == ["POSITIVE", "NEUTRAL"]
    assert [row["num_classes"] for row in data] == [2, 2]


async def test_the_model_states_its_classes_languages_and_terms(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/model")).json()
    assert ModelInfo.model_validate(body)
    assert body["labels"] == ["NEGATIVE", "POSITIVE"]
    assert body["answer_labels"] == ["NEGATIVE", "POSITIVE", "NEUTRAL"]
    assert (body["neutral_below"], body["languages"], body["license"]) == (0.8, ["en"], "mit")


async def test_without_a_threshold_no_answer_is_neutral() -> None:
    app = build_api(TwoLabelReplica(model=TWO_LABELS), Settings(), Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        [unclear] = (await post(client, "/v1/classify", {"inputs": UNCLEAR}))["results"]
        body = (await client.get("/v1/model")).json()
    assert unclear["label"] == "NEGATIVE"
    assert body["answer_labels"] == body["labels"] and body["neutral_below"] is None


async def test_log_and_feedback_keep_the_best_label(tmp_path: Path) -> None:
    """Check that the log keeps the model's labels: drift, rollout and retraining know no others."""
    capture = open_logger(Settings(log_uri=str(tmp_path), log_privacy="full", log_flush_s=3600), Metrics())
    assert capture is not None
    async with capture.running():
        app = build_api(TwoLabelReplica(), Settings(), Metrics(), capture)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            headers = {"x-request-id": "one"}
            await client.post("/v1/classify", json={"inputs": [UNCLEAR]}, headers=headers)
            right = await client.post("/v1/feedback", json={"request_id": "one", "label": "NEGATIVE"})
            unknown = await client.post("/v1/feedback", json={"request_id": "one", "label": "NEUTRAL"})
    assert right.status_code == 202 and right.json()["right"] == 1
    assert unknown.status_code == 422 and "NEGATIVE, POSITIVE" in unknown.text
    [row] = [row for table in Log(str(tmp_path)).predictions() for row in table.to_pylist()]
    assert (row["label"], row["score"]) == ("NEGATIVE", 0.625)


@pytest.mark.parametrize(
    ("readme", "card"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n", Card(("en",), "apache-2.0")),
        (
            "---\nlanguage:\n- de\n- no\nlicense: other\nlicense_name: research\n---\n",
            Card(("de", "no"), "research"),
        ),
        ("---\nlicense: other\n---\n", Card()),
        ("# Model\n---\nlanguage: en\n---\n", Card()),
        ("---\nlanguage: en\n", Card()),
        ("---\n- en\n---\n", Card()),
        ("---\nlanguage: [en\n---\n", Card()),
        ("", Card()),
    ],
)
def test_the_header_of_a_model_card(tmp_path: Path, readme: str, card: Card) -> None:
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    assert read_card(tmp_path) == card


def test_a_missing_or_unreadable_card_states_nothing(tmp_path: Path) -> None:
    assert read_card(tmp_path) == Card()
    (tmp_path / "README.md").write_bytes(b"\xff\xfe---")
    assert read_card(tmp_path) == Card()


@pytest.mark.parametrize("header", ["date: 2024-02-30", "size: 0b_", f"a: {'[' * 5000}"])
def test_a_header_that_yaml_cannot_build_states_nothing(tmp_path: Path, header: str) -> None:
    (tmp_path / "README.md").write_text(f"---\nlanguage: en\n{header}\n---\n", encoding="utf-8")
    assert read_card(tmp_path) == Card()
