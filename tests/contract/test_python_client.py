"""Tests of the example client: types, retries and errors, over TCP and with recorded refusals."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from examples.python_client import client as module
from examples.python_client.client import ClassificationError, SentimentClient
from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.settings import Settings
from tests.contract.fake_replica import LABELS, FakeReplica
from tests.contract.servers import over_tcp

TEXTS = ["I love this cream", "It ruined my skin"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def url() -> Iterator[str]:
    """Yield the address of a service whose key `a` may send 6 requests per minute, and one at once."""
    settings = Settings(
        api_keys=(SecretStr("a"), SecretStr("b")), key_requests_per_minute=6, max_texts_per_request=8
    )
    with over_tcp(build_api(FakeReplica(), settings, Metrics())) as url:
        yield url


def test_predictions_are_in_the_order_of_the_texts(url: str) -> None:
    with SentimentClient(url, api_key="a") as client:
        answer = client.classify(TEXTS, top_k=1)
    assert len(answer.predictions) == 2 and answer.request_id and answer.model and answer.version
    for prediction in answer.predictions:
        assert prediction.label in LABELS
        assert prediction.scores == {prediction.label: prediction.score}


def test_a_refused_request_is_sent_again_after_the_stated_time(url: str) -> None:
    refusals: list[tuple[int, float]] = []
    waits: list[float] = []

    class FirstWaitError(Exception):
        """Raised at the first wait, so that the test does not last for it."""

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        raise FirstWaitError

    def on_retry(status: int, seconds: float) -> None:
        refusals.append((status, seconds))

    with (
        SentimentClient(url, api_key="a", sleep=sleep, on_retry=on_retry) as client,
        pytest.raises(FirstWaitError),
    ):
        for _ in range(10):
            client.classify(TEXTS)
    [(status, seconds)] = refusals
    stated = httpx.get(f"{url}/v1/model", headers={"x-api-key": "a"}).headers["retry-after"]
    assert status == 429 and waits == [seconds]
    assert int(stated) - 1 <= seconds <= 1.25 * (int(stated) + 1)


@pytest.mark.parametrize("refusal", [429, 503])
@pytest.mark.parametrize(
    ("headers", "least_s"),
    [({"retry-after": "7"}, 7.0), ({}, 1.0)]
    + [({"retry-after": text}, 1.0) for text in ("soon", "0", "nan")],
)
def test_retry_after_is_respected(refusal: int, headers: dict[str, str], least_s: float) -> None:
    answers = [httpx.Response(refusal, headers=headers)] * 2 + [httpx.Response(200, json={"name": "m"})]
    waits: list[float] = []
    transport = httpx.MockTransport(lambda request: answers.pop(0))
    with SentimentClient("http://service", transport=transport, sleep=waits.append) as client:
        assert client.model() == {"name": "m"}
    assert len(waits) == 2 and all(least_s <= wait <= 1.25 * least_s for wait in waits)


def test_it_gives_up_after_the_maximum_wait() -> None:
    waits: list[float] = []
    transport = httpx.MockTransport(lambda request: httpx.Response(429, headers={"retry-after": "4"}))
    with (
        SentimentClient("http://service", transport=transport, max_wait_s=10, sleep=waits.append) as client,
        pytest.raises(ClassificationError) as refused,
    ):
        client.classify(TEXTS)
    assert refused.value.status == 429 and len(waits) == 2 and sum(waits) <= 10


def test_other_errors_are_raised_at_once_with_the_description(url: str) -> None:
    with (
        SentimentClient(url, api_key="a") as client,
        pytest.raises(ClassificationError, match="8") as refused,
    ):
        client.classify(TEXTS * 8)
    assert refused.value.status == 413
    with SentimentClient(url) as client, pytest.raises(ClassificationError, match="API key") as refused:
        client.classify(TEXTS)
    assert refused.value.status == 401


def test_the_client_can_be_copied_into_another_project() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {str(name).partition(".")[0] for name in imported} - set(sys.stdlib_module_names) == {"httpx"}


def test_the_command_reports_that_the_service_does_not_answer() -> None:
    command = [sys.executable, "-m", "examples.python_client", "fine", "--url", "http://127.0.0.1:9"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1 and ran.stderr.startswith("error: http://127.0.0.1:9")
