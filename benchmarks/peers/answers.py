"""Comparison of a peer's answers with those of the model in float32 in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.http import Connection
from benchmarks.peers.server import PeerServer
from serve_app.model import resolver
from serve_app.model.classifier import Classifier

Scores = dict[str, float]


@dataclass(frozen=True)
class Agreement:
    """Agreement of answers with the reference."""

    texts: int
    equal_labels: int
    max_difference: float
    """Maximum absolute difference of a score."""


def reference(texts: Sequence[str]) -> list[Scores]:
    """Return the scores by label in float32."""
    bundle = resolver.fetch("builtin:", cache_dir=Path("~/.cache/sentiment-service").expanduser())
    classifier = Classifier(bundle, device="cpu", dtype="float32")
    rows = classifier.forward(classifier.preprocess(texts))
    return [dict(zip(classifier.labels, row, strict=True)) for row in rows]


def compare(answers: Sequence[Scores], expected: Sequence[Scores]) -> Agreement:
    """Compare scores by label with the reference."""
    pairs = list(zip(answers, expected, strict=True))
    equal = sum(max(a, key=a.__getitem__) == max(b, key=b.__getitem__) for a, b in pairs)
    difference = max(abs(answer[label] - score) for answer, row in pairs for label, score in row.items())
    return Agreement(len(pairs), equal, difference)


def ask(server: PeerServer, texts: Sequence[str]) -> list[Scores]:
    """Return the scores that a server answers, one text after the other."""

    async def run() -> list[Scores]:
        async with Connection(server.url) as connection:
            return [server.scores(await server.ask(connection, text)) for text in texts]

    with server.turn():
        return uvloop.run(run())
