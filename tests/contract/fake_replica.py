"""Replica without a model: its scores encode the text, and it can be configured to refuse or to fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from serve_app.batching.admission import Priority
from serve_app.interface import LiveModel, LoadFailure, Prediction, PredictionBatch, ReplicaStatus, Timing

LABELS = ("NEGATIVE", "NEUTRAL", "POSITIVE")
LIVE = LiveModel(
    name="fake",
    version="7",
    uri="file:///fake",
    digest="0" * 64,
    labels=LABELS,
    activation="softmax",
    max_length=8,
    device="cpu",
    dtype="float32",
    packed=True,
    graph=True,
    loaded_at="2026-11-23T00:00:00+00:00",
    startup={"import_s": 1.0},
)

STANDING = ReplicaStatus(
    rank=1,
    role="champion",
    champion="file:///fake",
    canary="file:///next",
    shadow=None,
    state="failed",
    failed=LoadFailure("file:///next", "digest-mismatch", "config.json is not the file recorded"),
)


def scores_of(text: str) -> list[float]:
    """Return scores that identify the text: the POSITIVE score is its length in tenths of a percent."""
    positive = len(text) % 1000 / 1000
    return [(1 - positive) * 0.75, (1 - positive) * 0.25, positive]


@dataclass
class FakeReplica:
    """Implementation of `Service` for the contract tests, which records the requests that it receives."""

    refusal: Exception | None = None
    failure: Exception | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    priorities: list[Priority | None] = field(default_factory=list)

    @property
    def status(self) -> ReplicaStatus:
        return STANDING

    @property
    def live(self) -> LiveModel:
        return LIVE

    def check_room(
        self, *, tenant: str = "", priority: Priority | None = None, body_bytes: int | None = None
    ) -> None:
        if self.refusal is not None:
            raise self.refusal

    def check_health(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def classify(
        self, texts: Sequence[str], *, deadline: float, tenant: str = "", priority: Priority | None = None
    ) -> PredictionBatch:
        self.asked.append(tuple(texts))
        self.priorities.append(priority)
        self.deadlines.append(deadline)
        if self.failure is not None:
            raise self.failure
        results = [Prediction(scores_of(text), tokens=len(text), truncated=len(text) > 100) for text in texts]
        return PredictionBatch(LIVE, results, Timing(0.001, 0.002, 0.003))
