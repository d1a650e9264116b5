"""Asking a served model: answers in the order of the texts, patience with 429, plain errors for the rest."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from train.errors import TrainError
from train.evaluation.evaluate import ServedModel, evaluate_sets
from train.texts.examples import Example

LABELS = ("NEGATIVE", "POSITIVE")


class FakeService(ThreadingHTTPServer):
    """Answers POST /v1/classify; a text is a number, and its score repeats it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals = 0
        self.sizes: list[int] = []
        self.broken: dict[str, Any] | None = None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeService

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.sizes.append(len(body["inputs"]))
            refused = self.server.refusals > 0
            self.server.refusals -= refused
        if refused:
            self.send_response(429)
            self.send_header("Retry-After", "0.01")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        answer = self.server.broken or {"results": [_result(float(text)) for text in body["inputs"]]}
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def _result(positive: float) -> dict[str, Any]:
    scores = {"POSITIVE": positive, "NEGATIVE": 1 - positive}
    label = max(scores, key=lambda name: scores[name])
    return {"label": label, "score": scores[label], "scores": scores}


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_answers_come_in_the_order_of_the_texts(service: FakeService) -> None:
    values = np.random.default_rng(2).random(150).round(4)

    scores = ServedModel(service.url, LABELS).scores([str(value) for value in values])

    assert scores.shape == (150, 2)
    assert scores[:, 1] == pytest.approx(values, abs=1e-6)
    assert sorted(service.sizes) == [22, 32, 32, 32, 32]


def test_a_full_queue_is_waited_for(service: FakeService) -> None:
    service.refusals = 2

    assert ServedModel(service.url, LABELS).scores(["0.75"])[0, 1] == pytest.approx(0.75)


def test_a_service_that_stays_full_is_an_error(service: FakeService) -> None:
    service.refusals = 99

    with pytest.raises(TrainError, match="429"):
        ServedModel(service.url, LABELS).scores(["0.75"])


@pytest.mark.parametrize(
    "broken", [{"error": "no"}, {"results": []}, {"results": [{"label": "NEUTRAL", "score": 1.0}]}]
)
def test_another_shape_is_an_error(service: FakeService, broken: dict[str, Any]) -> None:
    service.broken = broken

    with pytest.raises(TrainError, match="answered"):
        ServedModel(service.url, LABELS).scores(["0.75"])


def test_figures_are_by_set(service: FakeService) -> None:
    sets = {
        "right": [Example("0.9", 1), Example("0.2", 0)],
        "half": [Example("0.9", 0), Example("0.2", 0), Example("0.8", 1)],
    }

    found, scores = evaluate_sets(ServedModel(service.url, LABELS), sets, LABELS)

    assert found["right"].accuracy == 1.0
    assert found["half"].recall == {"NEGATIVE": 0.5, "POSITIVE": 1.0}
    assert scores["half"].shape == (3, 2)
