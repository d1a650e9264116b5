"""A model's answers on labelled sets, in this process, as a replica gives them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from train.errors import TrainError
from train.evaluation.document import ModelCard
from train.evaluation.figures import Figures, figures
from train.fitting.batches import steps
from train.models import CACHE
from train.settings import FitSettings
from train.texts.examples import Example
from train.texts.sets import read_set, read_splits

BATCH_TEXTS = 32

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said to one batch."""

    scores: Scores
    """Probabilities: float32 (texts, labels), the greatest of a row is the answer."""
    tokens: int
    """That the model read."""
    forward_s: float
    """Of the forward alone in this process; of the whole request where the model is asked over HTTP."""


class Model(Protocol):
    """Anything that scores texts."""

    labels: tuple[str, ...]
    card: ModelCard

    def answer(self, texts: Sequence[str]) -> Answers:
        """Score one batch of texts; one row a text, in order, one column a label."""


class LocalModel:
    """A model at any address that the service takes, run in this process as a replica runs it.

    Args:
        uri: A bundle's folder, `builtin:`, `s3://...`.
        labels: In the order of the columns to give; by default the model's own.
        address: How the user named it; by default the URI.
        clock: Seconds, for the speed of the forward.

    Raises:
        serve_app.errors.BundleError: Nothing there, or it is not a bundle.
        TrainError: It has other labels.
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
        from serve_app.model.store import fetch

        bundle = fetch(uri, cache_dir=CACHE)
        manifest = bundle.manifest
        self.labels = tuple(labels or manifest.labels)
        if set(manifest.labels) != set(self.labels):
            raise TrainError(
                f"{uri} has the labels {list(manifest.labels)}, asked for are {list(self.labels)}; only "
                "models with the same labels can be measured together"
            )
        self._classifier = Classifier(bundle)
        if self._classifier.activation != "softmax":
            raise TrainError(
                f"{uri} is a multi-label model, whose labels do not exclude one another; only a model that "
                "gives a text one label can be measured: fine-tune it with `python -m train fit --base` first"
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
        """Score one batch through the very path that serves: after temperature, as a replica would answer."""
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
        """Of any number of texts, before temperature: float32 (texts, labels)."""
        encoded = self._classifier.preprocess(texts)
        rows = [
            self._classifier.logits(list(batch)).float().cpu().numpy()
            for batch in steps(encoded, BATCH_TEXTS)
        ]
        return np.concatenate(rows)[:, self._columns]


class HasLogits(Protocol):
    """What `evaluate_sets` needs of a model."""

    def logits(self, texts: Sequence[str]) -> Any:
        """Before temperature: float32 (texts, labels)."""


def evaluate_sets(
    model: HasLogits, sets: Mapping[str, Sequence[Example]], labels: Sequence[str]
) -> tuple[dict[str, Figures], dict[str, Scores]]:
    """Figures and logits of every set, each row in the order of its set's texts.

    The logits are those before temperature: one is fitted on them, and it changes no answer.
    """
    found, logits = {}, {}
    for name, examples in sets.items():
        logits[name] = model.logits([example.text for example in examples])
        truth = [example.label for example in examples]
        found[name] = figures(truth, logits[name].argmax(axis=1), labels)
    return found, logits


def read_sets(settings: FitSettings, root: str, columns: Sequence[str] = ()) -> dict[str, Sequence[Example]]:
    """What no training saw: the held-out part of every set, and the whole of every test set."""
    held_out: dict[str, Sequence[Example]] = {
        name: split.held_out for name, split in read_splits(settings, root, columns).items() if split.held_out
    }
    return held_out | {
        source.name: read_set(source, settings.labels, root, columns) for source in settings.test
    }
