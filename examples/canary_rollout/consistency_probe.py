"""Client that detects answers of mixed versions, by the scores of several texts in one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from examples.canary_rollout.periodic import repeating

_EVERY_S = 0.25
_TIMEOUT_S = 30.0
_SAME = 1e-3
"""Tolerance of scores: scores of one model differ by less in any batch; those of two models by more."""


@dataclass
class ConsistencyProbe:
    """Recorded answers: by version, the first label's scores of each text, one row per answer.

    Attributes:
        scores: by version, answers x texts.
        refused: answers without scores, by status.
        split: answers whose header names a different version from their body.
    """

    scores: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    refused: list[int] = field(default_factory=list)
    split: int = 0

    @property
    def answers(self) -> int:
        """Return the number of answers with scores."""
        return sum(map(len, self.scores.values()))

    def mixed(self) -> int:
        """Return the number of answers that are not entirely from the version that they name.

        Every answer of a version must have the scores of the version's first answer.
        """
        return self.split + sum(
            any(abs(one - other) > _SAME for one, other in zip(row, rows[0], strict=True))
            for rows in self.scores.values()
            for row in rows
        )

    def tells_apart(self) -> bool:
        """Return whether every two versions differ in the scores of some text, which shows mixed answers."""
        firsts = [rows[0] for rows in self.scores.values()]
        return all(
            any(abs(one - other) > _SAME for one, other in zip(first, second, strict=True))
            for place, first in enumerate(firsts)
            for second in firsts[:place]
        )

    def take(self, answer: httpx.Response) -> None:
        """Record one answer."""
        if not answer.is_success:
            self.refused.append(answer.status_code)
            return
        body = answer.json()
        version = body["model"]["version"]
        self.split += answer.headers["x-model-version"] != version
        scores = [result["scores"] for result in body["results"]]
        label = min(scores[0])  # the same label, regardless of the order of a version's labels
        self.scores[version].append([each[label] for each in scores])


@contextmanager
def probing(url: str, texts: Sequence[str]) -> Iterator[ConsistencyProbe]:
    """Send all texts in one request, repeatedly, while the block runs."""
    witness = ConsistencyProbe()
    with httpx.Client(base_url=url, timeout=_TIMEOUT_S) as client:

        def ask() -> None:
            try:
                witness.take(client.post("/v1/classify", json={"inputs": list(texts), "top_k": 2}))
            except httpx.HTTPError:
                witness.refused.append(0)

        with repeating(ask, _EVERY_S):
            yield witness
