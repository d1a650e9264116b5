"""A client that tells whether an answer is of one version: by the scores of several texts in one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from cluster.rollout.demo.beside import repeating

_EVERY_S = 0.25
_TIMEOUT_S = 30.0
_SAME = 1e-3
"""Scores of one model differ by less, whatever else is in the batch; those of two models by more."""


@dataclass
class Witness:
    """What it has seen: by version, the first label's scores of each text, an answer a row.

    Attributes:
        scores: by version, answers x texts.
        refused: answers without scores, by status.
        split: answers whose header names another version than their body.
    """

    scores: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    refused: list[int] = field(default_factory=list)
    split: int = 0

    @property
    def answers(self) -> int:
        """With scores."""
        return sum(map(len, self.scores.values()))

    def mixed(self) -> int:
        """Answers that are not wholly of the version they name.

        Every answer of a version must have the scores of its first one.
        """
        return self.split + sum(
            any(abs(one - other) > _SAME for one, other in zip(row, rows[0], strict=True))
            for rows in self.scores.values()
            for row in rows
        )

    def tells_apart(self) -> bool:
        """Whether any two versions differ in their scores of some text, so that a mixture would show."""
        firsts = [rows[0] for rows in self.scores.values()]
        return all(
            any(abs(one - other) > _SAME for one, other in zip(first, second, strict=True))
            for place, first in enumerate(firsts)
            for second in firsts[:place]
        )

    def take(self, answer: httpx.Response) -> None:
        """Note one answer."""
        if not answer.is_success:
            self.refused.append(answer.status_code)
            return
        body = answer.json()
        version = body["model"]["version"]
        self.split += answer.headers["x-model-version"] != version
        scores = [result["scores"] for result in body["results"]]
        label = min(scores[0])  # the same one whatever the order of a version's labels
        self.scores[version].append([each[label] for each in scores])


@contextmanager
def witnessing(url: str, texts: Sequence[str]) -> Iterator[Witness]:
    """Ask for all texts in one request, over and over, while the block runs."""
    witness = Witness()
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:

        def ask() -> None:
            try:
                witness.take(client.post("/v1/classify", json={"inputs": list(texts), "top_k": 2}))
            except httpx.HTTPError:
                witness.refused.append(0)

        with repeating(ask, _EVERY_S):
            yield witness
