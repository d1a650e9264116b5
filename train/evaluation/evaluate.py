"""`evaluate`: a model's answers on labelled sets, in this process or through the served HTTP path."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from train.errors import TrainError
from train.evaluation.figures import Figures, figures
from train.fitting.batches import steps
from train.settings import FitSettings
from train.texts.examples import Example
from train.texts.sets import read_set, read_splits

_BATCH_TEXTS = 32
_ATTEMPTS = 10
"""A service that is asked for all it can do answers 429 now and then, with a time to come again."""

Scores = npt.NDArray[np.float32]


class Model(Protocol):
    """Anything that scores texts."""

    labels: tuple[str, ...]

    def scores(self, texts: Sequence[str]) -> Scores:
        """One row a text, in order, one column a label: float32, the greatest is the answer."""


class LocalModel:
    """A model at any address that the service takes, run in this process as a replica runs it.

    Its scores are logits, before temperature.

    Args:
        uri: A bundle's folder, `builtin:`, `s3://...`.
        labels: In the order of the columns to give; by default the model's own.

    Raises:
        serve_app.errors.BundleError: Nothing there, or it is not a bundle.
        TrainError: It has other labels.
    """

    def __init__(self, uri: str, labels: Sequence[str] | None = None) -> None:
        from serve_app.model.classifier import Classifier
        from serve_app.model.store import fetch

        self._classifier = Classifier(fetch(uri, cache_dir=Path.home() / ".cache" / "sentiment-service"))
        self.labels = tuple(labels or self._classifier.labels)
        if set(self._classifier.labels) != set(self.labels):
            raise TrainError(
                f"{uri} has the labels {list(self._classifier.labels)}, asked for are {list(self.labels)}"
            )
        self._columns = [self._classifier.labels.index(label) for label in self.labels]

    def scores(self, texts: Sequence[str]) -> Scores:
        """Logits: float32 (texts, labels)."""
        encoded = self._classifier.preprocess(texts)
        rows = [
            self._classifier.logits(list(batch)).float().cpu().numpy()
            for batch in steps(encoded, _BATCH_TEXTS)
        ]
        return np.concatenate(rows)[:, self._columns]


class ServedModel:
    """A running service, asked over HTTP; its scores are the probabilities it answers.

    Args:
        url: Such as `http://127.0.0.1:8000`.
        labels: In the order of the columns to give.
        texts_per_request: Not above the server's limit.
        timeout_s: Of one request.
    """

    def __init__(
        self,
        url: str,
        labels: Sequence[str],
        *,
        texts_per_request: int = 32,
        timeout_s: float = 60.0,
    ) -> None:
        self._url = url.rstrip("/") + "/v1/classify"
        self.labels = tuple(labels)
        self._texts_per_request = texts_per_request
        self._timeout_s = timeout_s

    def scores(self, texts: Sequence[str]) -> Scores:
        """Probabilities: float32 (texts, labels); a label that an answer leaves out has 0.

        Raises:
            TrainError: A request failed ten times, or an answer has the wrong shape.
        """
        size = self._texts_per_request
        requests = [list(texts[begin : begin + size]) for begin in range(0, len(texts), size)]
        rows = [row for request in requests for row in self._ask(request)]
        return np.array(rows, dtype=np.float32).reshape(len(texts), len(self.labels))

    def _ask(self, texts: list[str]) -> list[list[float]]:
        body = json.dumps({"inputs": texts, "top_k": len(self.labels)}).encode()
        request = urllib.request.Request(self._url, body, {"content-type": "application/json"})
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=self._timeout_s) as response:
                    return self._rows(json.load(response), len(texts))
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503) or attempt == _ATTEMPTS - 1:
                    raise TrainError(f"{self._url} answered {error.code}: {error.read(300)!r}") from error
                time.sleep(float(error.headers.get("Retry-After") or 1))
            except OSError as error:
                if attempt == _ATTEMPTS - 1:
                    raise TrainError(f"{self._url} cannot be reached: {error}; is the service up?") from error
                time.sleep(1)
        raise AssertionError("the last attempt returns or raises")

    def _rows(self, answer: Any, expected: int) -> list[list[float]]:
        try:
            results = answer["results"]
            if len(results) != expected:
                raise TrainError(f"{self._url} answered {len(results)} results for {expected} texts")
            return [self._row(result) for result in results]
        except (KeyError, TypeError, ValueError) as error:
            raise TrainError(
                f"{self._url} answered in another shape than /v1/classify's: {error!r}"
            ) from error

    def _row(self, result: dict[str, Any]) -> list[float]:
        row = [0.0] * len(self.labels)
        row[self.labels.index(result["label"])] = float(result["score"])
        for label, score in (result.get("scores") or {}).items():
            row[self.labels.index(label)] = float(score)
        return row


def read_sets(settings: FitSettings, root: str, columns: Sequence[str] = ()) -> dict[str, Sequence[Example]]:
    """What no training saw: the held-out part of every set, and the whole of every test set."""
    held_out: dict[str, Sequence[Example]] = {
        name: split.held_out for name, split in read_splits(settings, root, columns).items() if split.held_out
    }
    return held_out | {
        source.name: read_set(source, settings.labels, root, columns) for source in settings.test
    }


def evaluate_sets(
    model: Model, sets: Mapping[str, Sequence[Example]], labels: Sequence[str]
) -> tuple[dict[str, Figures], dict[str, Scores]]:
    """Figures and scores of every set, each score row in the order of its set's texts."""
    found, scores = {}, {}
    for name, examples in sets.items():
        scores[name] = model.scores([example.text for example in examples])
        truth = [example.label for example in examples]
        found[name] = figures(truth, scores[name].argmax(axis=1), labels)
    return found, scores
