"""Synthetic models and their evaluations: logits are drawn from a seed, without network access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from train.datasets.examples import Example
from train.evaluation.evaluate import Answers
from train.evaluation.measure import measure
from train.evaluation.results import Evaluation, ModelCard

LABELS = ("NEGATIVE", "POSITIVE")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

GOOD = ("good", "great", "lovely", "excellent", "wonderful", "beautiful", "love")
BAD = ("bad", "awful", "terrible", "horrible", "dreadful", "disappointing", "hate", "broke")


def texts(
    name: str, count: int, *, seed: int, positive: float = 0.5, **columns: Sequence[str]
) -> list[Example]:
    """Return a labelled set with texts `name number evidence`, where the evidence is a logit of the label.

    A model that answers with the evidence is right on 89 of 100 texts, and its scores are calibrated.
    """
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < positive).astype(int)
    evidence = rng.normal(np.where(labels == 1, 3.0, -3.0), np.sqrt(6.0))
    return [
        Example(
            f"{name} {i} {evidence[i]:.6f}",
            int(labels[i]),
            {column: values[i % len(values)] for column, values in columns.items()},
        )
        for i in range(count)
    ]


class FakeModel:
    """Model that answers with the evidence in a text, or by the words of a behavioural test.

    Attributes:
        sharpness: Factor of the logits; 1 is calibrated.
        noise: Standard deviation of the noise on the evidence, which is the same for a text each time.
        confused: Parts of texts that receive the opposite answer.
        constant: Logit of every answer.
        shuffled: True if the evidence is independent of the text's label.
        batch_s: Time of one batch in seconds.
        reads_words: True if the last word of either pole decides a behavioural test; otherwise every answer
            is POSITIVE.
    """

    def __init__(self, name: str = "fake", labels: tuple[str, ...] = LABELS, **settings: Any) -> None:
        self.labels = labels
        self.card = ModelCard(
            address=name,
            uri=name,
            name=name,
            version="1",
            labels=labels,
            max_length=512,
            device="cpu",
            dtype="float32",
        )
        self.settings: Mapping[str, Any] = settings
        self.asked: list[tuple[str, ...]] = []

    def answer(self, batch: Sequence[str]) -> Answers:
        self.asked.append(tuple(batch))
        logits = np.array([self._logit(text) for text in batch]) * self.settings.get("sharpness", 1.0)
        positive = 1 / (1 + np.exp(-logits))
        scores = np.stack([1 - positive, positive], axis=1).astype(np.float32)
        return Answers(scores, sum(len(text.split()) for text in batch), self.settings.get("batch_s", 1.0))

    def _logit(self, text: str) -> float:
        constant = self.settings.get("constant")
        if constant is not None:
            return float(constant)
        try:
            evidence = float(text.rpartition(" ")[2])
        except ValueError:
            return self._of_words(text)
        own = np.random.default_rng(list(text.encode()))
        if self.settings.get("shuffled"):
            return float(own.normal(0, 4))
        evidence += float(own.normal(0, 1)) * float(self.settings.get("noise", 0.0))
        return -evidence if any(part in text for part in self.settings.get("confused", ())) else evidence

    def _of_words(self, text: str) -> float:
        if not self.settings.get("reads_words", True):
            return 5.0
        last = max((text.rfind(word), pole) for pole, words in ((4.0, GOOD), (-4.0, BAD)) for word in words)
        negated = " not " in text or "n't " in text or " nothing " in text
        return -last[1] if negated else last[1]


def evaluated(
    candidate: FakeModel,
    champion: FakeModel | None = None,
    sets: Mapping[str, Sequence[Example]] | None = None,
    columns: Sequence[str] = (),
) -> Evaluation:
    """Return an evaluation of fakes on `sets`, or on two sets of 600 and 1,500 texts."""
    given = sets or {"even": texts("even", 600, seed=1), "rare": texts("rare", 1500, seed=2, positive=0.85)}
    return measure(candidate, champion, given, columns=columns, now=lambda: NOW)
