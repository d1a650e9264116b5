"""Client of the HTTP API that waits and retries when the service refuses a request for load.

It needs httpx and nothing else of the project: copy this file into your own.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

RETRIED_STATUSES = frozenset({429, 503})
"""Statuses of requests that were refused before any work: too much load, and no model yet."""

_DEFAULT_RETRY_S = 1.0
"""Wait after a refusal without Retry-After, such as that of a proxy which has no replica."""

_JITTER_FRACTION = 0.25
"""Maximum addition to a wait, as a fraction of it: clients that were refused together return one by one."""


@dataclass(frozen=True, slots=True)
class TextPrediction:
    """Prediction for one text.

    Attributes:
        label: Label with the highest score.
        score: That score, from 0 to 1.
        scores: Score by label, highest first.
        tokens: Number of tokens of the text.
        truncated: Whether the model read only the beginning of the text.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Classification:
    """Response to one request.

    Attributes:
        request_id: Id to which feedback refers.
        model: Name of the model.
        version: Version of the model.
        predictions: Predictions in the order of the texts.
    """

    request_id: str
    model: str
    version: str
    predictions: tuple[TextPrediction, ...]


class ClassificationError(Exception):
    """Error response of the service.

    Attributes:
        status: HTTP status.
        detail: What is wrong, as the service describes it.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"HTTP {status}: {detail}")
        self.status = status
        self.detail = detail


class SentimentClient:
    """Client of one service; use it as a context manager, or call `close`. Threads may share it.

    Args:
        url: Address of the service.
        api_key: API key, where the service requires one.
        timeout_s: Time limit of each step of an attempt, in seconds: connection, upload, wait for a response.
        max_wait_s: Maximum total wait between the attempts of one request, in seconds.
        transport: Transport of httpx; default: the network.
        sleep: Waits for the given number of seconds.
        on_retry: Called before each wait with the status of the refusal and the seconds of the wait.
    """

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        max_wait_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        on_retry: Callable[[int, float], None] = lambda status, wait_s: None,
    ) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, transport=transport)
        self._max_wait_s = max_wait_s
        self._sleep = sleep
        self._on_retry = on_retry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self, texts: Sequence[str], *, top_k: int | None = None, segment: str | None = None
    ) -> Classification:
        """Classify texts in one request.

        Args:
            texts: The texts; `limits` of `model` states how many are allowed.
            top_k: Number of labels in `scores`; default: all.
            segment: Group of traffic in the prediction log.

        Raises:
            ClassificationError: The service answered with an error, or still refuses after `max_wait_s`.
            httpx.TransportError: The service cannot be reached.
        """
        options = {"top_k": top_k, "segment": segment}
        given = {name: value for name, value in options.items() if value is not None}
        body = self._request("POST", "/v1/classify", {"inputs": list(texts), **given})
        return Classification(
            request_id=body["request_id"],
            model=body["model"]["name"],
            version=body["model"]["version"],
            predictions=tuple(TextPrediction(**result) for result in body["results"]),
        )

    def feedback(self, request_id: str, label: str, *, index: int = 0) -> None:
        """Report the true label of a classified text.

        Args:
            request_id: `request_id` of its classification.
            label: True label, one of the model's labels.
            index: Index of the text in its request, from 0.

        Raises:
            ClassificationError: The service answered with an error, or still refuses after `max_wait_s`.
            httpx.TransportError: The service cannot be reached.
        """
        self._request("POST", "/v1/feedback", {"request_id": request_id, "index": index, "label": label})

    def model(self) -> Mapping[str, Any]:
        """Return the description of the loaded model: labels, limits, languages and terms.

        Raises:
            ClassificationError: The service answered with an error, or still refuses after `max_wait_s`.
            httpx.TransportError: The service cannot be reached.
        """
        return self._request("GET", "/v1/model")

    def _request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        waited_s = 0.0
        while True:
            response = self._http.request(method, path, json=body)
            if response.is_success:
                content: dict[str, Any] = response.json()
                return content
            wait_s = _retry_after_s(response) * (1 + _JITTER_FRACTION * random.random())
            if response.status_code not in RETRIED_STATUSES or waited_s + wait_s > self._max_wait_s:
                raise ClassificationError(response.status_code, _detail(response))
            self._on_retry(response.status_code, wait_s)
            self._sleep(wait_s)
            waited_s += wait_s


def _retry_after_s(response: httpx.Response) -> float:
    """Return the seconds after which the service accepts the request again, as far as it states them."""
    try:
        stated_s = float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return _DEFAULT_RETRY_S
    return stated_s if stated_s > 0 else _DEFAULT_RETRY_S  # 0 and NaN would retry without end


def _detail(response: httpx.Response) -> str:
    """Return the description in a problem document, or the beginning of another body."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase
