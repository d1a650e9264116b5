"""Tests of the real service with SageMaker's hosting contract: pings, payloads, time, concurrency.

The contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from serve_app.settings import Settings
from tests.conftest import Service
from tests.e2e.test_service import distinct_texts

pytestmark = pytest.mark.serve
PING_S, CONNECT_S, INVOKE_S = 2.0, 0.25, 60.0
"""Maximum seconds for a container to answer a ping, accept a connection, and answer a request."""
PAYLOAD_MAX_BYTES = 25 * 1024 * 1024
"""Maximum payload of a real-time endpoint; a longer one never reaches the container."""
ATTEMPTS = 100
LOVE, HATE = "I love this cream", "It ruined my skin, and it smells"


class PayloadNotSentError(Exception):
    """Payload too long for SageMaker, which refuses it."""


class ModelError(Exception):
    """Answer of the container other than 2xx; the caller receives status and body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:200]!r}")
        self.status = status
        self.body = body


@dataclass
class Hosting:
    """Endpoint that uses its container as InvokeEndpoint and the health checks do."""

    container: httpx.AsyncClient

    async def ping(self) -> bool:
        """Return whether the container is in service: it answers 200 in time, with any body."""
        answer = await self.container.get("/ping", timeout=httpx.Timeout(PING_S))
        return answer.status_code == 200

    async def invoke(
        self, body: bytes, content_type: str = "application/json", accept: str = "*/*"
    ) -> tuple[bytes, str]:
        """Return body and content type of the answer.

        Raises:
            PayloadNotSentError: the payload is longer than SageMaker accepts.
            ModelError: the container did not answer 2xx.
            httpx.TimeoutException: it did not answer in time.
        """
        if len(body) > PAYLOAD_MAX_BYTES:
            raise PayloadNotSentError
        headers = {
            "content-type": content_type,
            "accept": accept,
            "x-amzn-sagemaker-custom-attributes": "trace-id=1",
        }
        answer = await self.container.post("/invocations", content=body, headers=headers)
        if not answer.is_success:
            raise ModelError(answer.status_code, answer.content)
        return answer.content, answer.headers["content-type"]

    async def invoke_patiently(self, body: bytes) -> bytes:
        """Retry like a caller that is refused because the queue is full: the error's body states when."""
        for _ in range(ATTEMPTS):
            try:
                answer, _ = await self.invoke(body)
                return answer
            except ModelError as error:
                if error.status != 429:
                    raise
                await asyncio.sleep(json.loads(error.body)["retry_after_s"])
        raise AssertionError(f"refused {ATTEMPTS} times")

    async def label_and_score(self, text: str) -> tuple[str, float]:
        [best] = json.loads(await self.invoke_patiently(json.dumps({"inputs": text}).encode()))
        return best["label"], best["score"]


@pytest.fixture
async def endpoint(service: Service) -> AsyncIterator[Hosting]:
    timeout = httpx.Timeout(INVOKE_S, connect=CONNECT_S)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=timeout, limits=limits) as container:
        yield Hosting(container)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps({"inputs": [LOVE, HATE]}), "application/json"),
        (json.dumps({"inputs": [LOVE, HATE]}), "application/json; charset=utf-8"),
        (f"{json.dumps({'inputs': LOVE})}\n{json.dumps({'inputs': HATE})}\n", "application/jsonlines"),
        (f'text\n{LOVE}\n"{HATE}"\n', "text/csv"),
        (f'{LOVE}\r\n"{HATE}"\r\n', "text/csv"),
    ],
)
async def test_every_content_type_is_answered_in_order(
    endpoint: Hosting, body: str, content_type: str
) -> None:
    answer, answered_as = await endpoint.invoke(body.encode(), content_type)
    lines = content_type == "application/jsonlines"
    assert answered_as == ("application/jsonlines" if lines else "application/json")
    rows = [json.loads(line) for line in answer.splitlines()] if lines else json.loads(answer)
    assert [row["label"] for row in rows] == ["POSITIVE", "NEGATIVE"]


async def test_one_text_is_answered_alone_whatever_the_caller_accepts(endpoint: Hosting) -> None:
    plain, _ = await endpoint.invoke(LOVE.encode(), "text/plain", accept="application/json")
    assert json.loads(plain)[0]["label"] == "POSITIVE"
    assert await endpoint.label_and_score(LOVE) == (
        "POSITIVE",
        pytest.approx(json.loads(plain)[0]["score"], abs=1e-5),
    )


async def test_callers_at_once_get_their_own_answers_and_pings_are_answered_meanwhile(
    endpoint: Hosting,
) -> None:
    texts = distinct_texts(64)
    expected = [await endpoint.label_and_score(text) for text in texts]
    assert len({round(score, 4) for _, score in expected}) > 32, "a mix-up would show"
    answers = asyncio.gather(*(endpoint.label_and_score(text) for text in texts))
    assert await endpoint.ping()
    for (label, score), (wanted, wanted_score) in zip(await answers, expected, strict=True):
        assert (label, score) == (wanted, pytest.approx(wanted_score, abs=1e-4))


async def test_the_longest_request_is_answered_or_given_up_in_sagemakers_time(endpoint: Hosting) -> None:
    """Send as many texts as one request may contain, each with more tokens than the model accepts."""
    limits = Settings()
    assert limits.default_timeout_ms / 1000 < INVOKE_S, "the service gives up first, and says so"
    texts = ["a very long text about a cream " * 100] * limits.max_texts_per_request
    try:
        answer = await endpoint.invoke_patiently(json.dumps({"inputs": texts}).encode())
        assert len(json.loads(answer)) == limits.max_texts_per_request
    except ModelError as error:
        assert error.status == 504, error


@pytest.mark.parametrize("length", [Settings().max_body_bytes + 1, PAYLOAD_MAX_BYTES])
async def test_a_payload_that_sagemaker_takes_and_the_service_does_not_is_told_so(
    endpoint: Hosting, length: int
) -> None:
    with pytest.raises(ModelError) as refused:
        await endpoint.invoke_patiently(b" " * length)
    assert refused.value.status == 413
    assert str(Settings().max_body_bytes) in json.loads(refused.value.body)["detail"]
    assert await endpoint.label_and_score(LOVE), "the next caller is served"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"texts": "no inputs"}', "application/json", 422),
        (b"", "application/json", 400),
        (b"\xff\xfe", "text/plain", 422),
        (b"<x/>", "application/xml", 415),
        (b'{"inputs": ["a", "b"]}\n', "application/jsonlines", 422),
    ],
)
async def test_what_the_caller_did_wrong_is_a_model_error_with_its_reason(
    endpoint: Hosting, body: bytes, content_type: str, status: int
) -> None:
    with pytest.raises(ModelError) as refused:
        await endpoint.invoke(body, content_type)
    assert refused.value.status == status
    assert json.loads(refused.value.body)["detail"]
    assert await endpoint.ping()
