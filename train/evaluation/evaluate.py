"""Predictions of a model on labelled sets, computed in this process in the same way as by a replica."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from train.datasets.examples import Example
from train.datasets.splits import read_set, read_splits
from train.errors import TrainError
from train.evaluation.metrics import Figures, figures
from train.evaluation.results import ModelCard
from train.model_uri import CACHE
from train.settings import FitSettings
from train.training.batches import steps

BATCH_TEXTS = 32

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions of a model for one batch."""

    scores: Scores
    """Probabilities: float32 (texts, labels); the label with the maximum of a row is the prediction."""
    tokens: int
    """Number of tokens of the batch."""
    forward_s: float
    """Seconds of the forward pass in this process, or of the entire request over HTTP."""


class Model(Protocol):
    """Model that scores texts."""

    labels: tuple[str, ...]
    card: ModelCard

    def answer(self, texts: Sequence[str]) -> Answers:
        """Score one batch of texts: one row per text, in order, and one column per label."""


class LocalModel:
    """Model at any URI that the service supports, run in this process in the same way as by a replica.

    Args:
        uri: URI of the model: a bundle's folder, `builtin:`, `s3://...`.
        labels: Labels in the order of the columns; by default the model's own.
        address: URI as the user wrote it, for the report; by default `uri`.
        clock: Clock in seconds, for the speed of the forward pass.

    Raises:
        serve_app.errors.BundleError: The bundle is missing or invalid.
        TrainError: The model has other labels.
    """

    def __init__(
        self,
        uri: str,
        labels: Sequence[str] | None = None,
        *,
        address: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        from serve_app.model.classifier import Classifier
        from serve_app.model.resolver import fetch

        bundle = fetch(uri, cache_dir=CACHE)
        manifest = bundle.manifest
        self.labels = tuple(labels or manifest.labels)
        if set(manifest.labels) != set(self.labels):
            raise TrainError(
                f"{uri} has the labels {list(manifest.labels)}; expected {list(self.labels)}: only models "
                "with the same labels can be compared"
            )
        self._classifier = Classifier(bundle)
        if self._classifier.activation != "softmax":
            raise TrainError(
                f"{uri} is a multi-label model; expected one with exactly one label per text (softmax "
                "scores): fine-tune it with `python -m train fit --base` first"
            )
        self._columns = [manifest.labels.index(label) for label in self.labels]
        self._clock = clock
        self.card = ModelCard(
            address=address or uri,
            uri=uri,
            name=manifest.name,
            version=manifest.version,
            digest=manifest.digest,
            labels=manifest.labels,
            temperature=manifest.temperature,
            max_length=self._classifier.max_length,
            device=self._classifier.device,
            dtype=self._classifier.dtype,
        )

    def answer(self, texts: Sequence[str]) -> Answers:
        """Score one batch with the code of the service: after temperature scaling, as a replica does."""
        encoded = self._classifier.preprocess(texts)
        begun_s = self._clock()
        scores = self._classifier.forward(encoded)
        forward_s = self._clock() - begun_s
        return Answers(
            np.array(scores, dtype=np.float32)[:, self._columns],
            sum(text.tokens for text in encoded),
            forward_s,
        )

    def logits(self, texts: Sequence[str]) -> Scores:
        """Return the logits of any number of texts, before temperature scaling: float32 (texts, labels)."""
        encoded = self._classifier.preprocess(texts)
        rows = [
            self._classifier.logits(list(batch)).float().cpu().numpy()
            for batch in steps(encoded, BATCH_TEXTS)
        ]
        return np.concatenate(rows)[:, self._columns]


class HasLogits(Protocol):
    """Interface that `evaluate_sets` needs of a model."""

    def logits(self, texts: Sequence[str]) -> Any:
        """Return the logits before temperature scaling: float32 (texts, labels)."""


def evaluate_sets(
    model: HasLogits, sets: Mapping[str, Sequence[Example]], labels: Sequence[str]
) -> tuple[dict[str, Figures], dict[str, Scores]]:
    """Return figures and logits of every set, each row in the order of its set's texts.

    The logits are before temperature scaling, because a temperature is fitted on them; it changes no
    prediction.
    """
    found, logits = {}, {}
    for name, examples in sets.items():
        logits[name] = model.logits([example.text for example in examples])
        truth = [example.label for example in examples]
        found[name] = figures(truth, logits[name].argmax(axis=1), labels)
    return found, logits


def read_sets(settings: FitSettings, root: str, columns: Sequence[str] = ()) -> dict[str, Sequence[Example]]:
    """Read the texts that were not trained on: the held-out part of each set, and all of each test set."""
    held_out: dict[str, Sequence[Example]] = {
        name: split.held_out for name, split in read_splits(settings, root, columns).items() if split.held_out
    }
    return held_out | {
        source.name: read_set(source, settings.labels, root, columns) for source in settings.test
    }
