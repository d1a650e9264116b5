"""Running service as a model to evaluate: requests over HTTP, with retries if its queue is full."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from train.errors import TrainError
from train.evaluation.evaluate import Answers
from train.evaluation.results import ModelCard

_ATTEMPTS = 10
"""Maximum number of attempts: under full load, a service sometimes responds with 429 and a Retry-After."""


class ServedModel:
    """Running service as a model; its scores are the returned probabilities, after temperature scaling.

    Args:
        url: Base URL such as `http://127.0.0.1:8000`.
        labels: Labels in the order of the columns; by default in the order of the service.
        timeout_s: Timeout of one request in seconds.
        clock: Clock in seconds, for the speed.

    Raises:
        TrainError: The service does not respond to GET /v1/model, or has other labels.
    """

    def __init__(
        self,
        url: str,
        labels: Sequence[str] | None = None,
        *,
        timeout_s: float = 60.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        base = url.rstrip("/")
        self._url = base + "/v1/classify"
        self._timeout_s = timeout_s
        self._clock = clock
        info = self._request(base + "/v1/model", None)
        try:
            self.card = ModelCard(
                address=url,
                uri=info["uri"],
                name=info["name"],
                version=info["version"],
                labels=tuple(info["labels"]),
                max_length=info["max_length"],
                device=info["device"],
                dtype=info["dtype"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TrainError(
                f"the response of {base}/v1/model has an unexpected shape ({error!r}); check that --url is "
                "the base URL of this service"
            ) from error
        self.labels = tuple(labels or self.card.labels)
        if set(self.labels) != set(self.card.labels):
            raise TrainError(f"{url} has the labels {list(self.card.labels)}; expected {list(self.labels)}")

    def answer(self, texts: Sequence[str]) -> Answers:
        """Score one batch by one request.

        Raises:
            TrainError: The request failed ten times, or the response has the wrong shape.
        """
        body = json.dumps({"inputs": list(texts), "top_k": len(self.labels)}).encode()
        begun_s = self._clock()
        answer = self._request(self._url, body)
        wall_s = self._clock() - begun_s
        try:
            results = answer["results"]
            if len(results) != len(texts):
                raise TrainError(
                    f"the response of {self._url} has {len(results)} results; expected {len(texts)}, one per "
                    "text"
                )
            rows = [[float(result["scores"][label]) for label in self.labels] for result in results]
            tokens = sum(int(result["tokens"]) for result in results)
        except (KeyError, TypeError, ValueError) as error:
            raise TrainError(
                f"the response of {self._url} has an unexpected shape ({error!r}); expected that of "
                "/v1/classify"
            ) from error
        return Answers(np.array(rows, dtype=np.float32), tokens, wall_s)

    def _request(self, url: str, body: bytes | None) -> Any:
        """Send a POST with the body, or a GET without one; return the JSON of the response."""
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503) or attempt == _ATTEMPTS - 1:
                    raise TrainError(
                        f"{url} responded with status {error.code}: {error.read(300)!r}"
                    ) from error
                time.sleep(float(error.headers.get("Retry-After") or 1))
            except json.JSONDecodeError as error:
                raise TrainError(
                    f"the response of {url} is not JSON ({error}); check that --url is the base URL of this "
                    "service"
                ) from error
            except OSError as error:
                if attempt == _ATTEMPTS - 1:
                    raise TrainError(
                        f"{url} cannot be reached: {error}; check that the service runs"
                    ) from error
                time.sleep(1)
        raise AssertionError("the last attempt returns or raises")
