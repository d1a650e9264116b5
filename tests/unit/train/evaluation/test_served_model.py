"""Tests of the client of a served model: order of the answers, retries after 429, and error messages."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from train.errors import TrainError
from train.evaluation.served_model import ServedModel

LABELS = ("NEGATIVE", "POSITIVE")
INFO = {
    "name": "fake",
    "version": "3",
    "uri": "builtin:",
    "labels": ["POSITIVE", "NEGATIVE"],
    "max_length": 512,
    "device": "cpu",
    "dtype": "float32",
}


class FakeService(ThreadingHTTPServer):
    """Fake service: POST /v1/classify returns each text, a number, as its score; GET returns the labels."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refusals = 0
        self.sizes: list[int] = []
        self.broken: dict[str, Any] | None = None
        self.info: dict[str, Any] = INFO
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeService

    def do_GET(self) -> None:
        self._answer(self.server.info)

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
        self._answer(answer)

    def _answer(self, answer: object) -> None:
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Suppress the log, to keep the test's output clean."""


def _result(positive: float) -> dict[str, Any]:
    scores = {"POSITIVE": positive, "NEGATIVE": 1 - positive}
    label = max(scores, key=lambda name: scores[name])
    return {"label": label, "score": scores[label], "scores": scores, "tokens": 3}


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_answers_come_in_the_order_of_the_texts(service: FakeService) -> None:
    values = np.random.default_rng(2).random(32).round(4)

    answers = ServedModel(service.url, LABELS).answer([str(value) for value in values])

    assert answers.scores.shape == (32, 2)
    assert answers.scores[:, 1] == pytest.approx(values, abs=1e-6)
    assert answers.tokens == 96
    assert service.sizes == [32]


def test_the_service_says_its_labels(service: FakeService) -> None:
    model = ServedModel(service.url)

    assert model.labels == ("POSITIVE", "NEGATIVE")
    assert model.answer(["0.75"]).scores[0].tolist() == [0.75, 0.25]
    assert (model.card.name, model.card.version) == ("fake", "3")


def test_other_labels_than_asked_for_are_an_error(service: FakeService) -> None:
    with pytest.raises(TrainError, match=r"has the labels .*; expected \['good', 'bad'\]"):
        ServedModel(service.url, ["good", "bad"])


def test_a_service_of_another_kind_is_an_error(service: FakeService) -> None:
    service.info = {"model_id": "other"}

    with pytest.raises(TrainError, match="check that --url"):
        ServedModel(service.url)


def test_time_is_that_of_the_request(service: FakeService) -> None:
    ticks = iter([10.0, 12.5])

    assert ServedModel(service.url, clock=lambda: next(ticks)).answer(["0.75"]).forward_s == 2.5


def test_a_full_queue_is_waited_for(service: FakeService) -> None:
    service.refusals = 2

    assert ServedModel(service.url, LABELS).answer(["0.75"]).scores[0, 1] == pytest.approx(0.75)


def test_a_service_that_stays_full_is_an_error(service: FakeService) -> None:
    service.refusals = 99

    with pytest.raises(TrainError, match="429"):
        ServedModel(service.url, LABELS).answer(["0.75"])


@pytest.mark.parametrize(
    "broken", [{"error": "no"}, {"results": []}, {"results": [{"label": "NEUTRAL", "scores": {}}]}]
)
def test_another_shape_is_an_error(service: FakeService, broken: dict[str, Any]) -> None:
    service.broken = broken

    with pytest.raises(TrainError, match="response of"):
        ServedModel(service.url, LABELS).answer(["0.75"])
