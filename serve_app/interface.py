"""Interface of the replica as the HTTP routes use it, implemented by `serve_app.replica.deployment`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serve_app.batching.admission import Priority
from serve_app.replica.user_config import Role

NEUTRAL = "NEUTRAL"
"""Label of an answer without a clear prediction, if the replica is configured for it."""


@dataclass(frozen=True, slots=True)
class LiveModel:
    """Description of a loaded model.

    Attributes:
        name: Name of the bundle.
        version: Version of the bundle.
        uri: URI that it was loaded from.
        digest: SHA-256 of its manifest, which lists the SHA-256 of every file.
        labels: Labels in the order of the scores.
        activation: Function that turns logits into scores: "softmax", or "sigmoid" for multi-label models.
        max_length: Maximum number of tokens per text; longer texts are truncated.
        device: Such as "cpu" or "cuda:0".
        dtype: Data type of the weights, such as "float32"; with the precision "auto" the selected one.
        packed: Whether batches run without padding.
        graph: Whether batches run as a TorchScript graph, without the Python interpreter.
        loaded_at: Time of loading: UTC, ISO 8601.
        startup: Seconds of start, import, load and warm-up; bytes of memory that import and model added.
        neutral_below: Score of the best label below which answers have the label NEUTRAL, or None for never.
        languages: Language codes of the texts that the model is for, as its card states them.
        license: Terms of the model, as its card states them, or None.
    """

    name: str
    version: str
    uri: str
    digest: str
    labels: tuple[str, ...]
    activation: str
    max_length: int
    device: str
    dtype: str
    packed: bool
    graph: bool
    loaded_at: str
    startup: dict[str, float]
    neutral_below: float | None = None
    languages: tuple[str, ...] = ()
    license: str | None = None

    @property
    def answer_labels(self) -> tuple[str, ...]:
        """Return every label that an answer may have."""
        return self.labels if self.neutral_below is None else (*self.labels, NEUTRAL)

    def answer_label(self, scores: Sequence[float]) -> str:
        """Return the label of the answer to a text: the best label, or NEUTRAL if its score is too low."""
        best = max(scores)
        if self.neutral_below is not None and best < self.neutral_below:
            return NEUTRAL
        return self.labels[scores.index(best)]


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A model that could not be loaded: its URI, the type of the error, and the error's message."""

    uri: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """Status of a replica in a rollout.

    Attributes:
        rank: Rank of the replica within its deployment; the lowest ranks serve the canary.
        role: "champion" or "canary", whichever answers requests; "shadow" if the champion answers and the
            canary scores the same texts without answering.
        champion: URI of the deployment's champion.
        canary: URI of the deployment's canary, or None.
        shadow: Version of the shadow model, or None.
        state: "live"; "loading" while another model is loaded; "failed" if that model could not be loaded and
            the earlier one still serves.
        failed: The model that could not be loaded, or None.
    """

    rank: int
    role: str
    champion: str
    canary: str | None
    shadow: str | None
    state: str
    failed: LoadFailure | None

    def role_of(self, model: LiveModel) -> Role:
        """Return the role of a model of this replica; while models are swapped there are several."""
        return "canary" if model.uri == self.canary != self.champion else "champion"


@dataclass(frozen=True, slots=True)
class Prediction:
    """Prediction for one text: scores in the order of the model's labels, each in 0..1.

    `unknown_tokens` is the number of the `tokens` that are the tokenizer's unknown token.
    """

    scores: Sequence[float]
    tokens: int
    truncated: bool
    unknown_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of a request by phase, in seconds. `forward_s` is the sum over all batches with texts of it."""

    tokenize_s: float
    queue_s: float
    forward_s: float


@dataclass(frozen=True, slots=True)
class PredictionBatch:
    """Predictions for a request: one per text, in the order of the texts, all by the same model."""

    model: LiveModel
    results: list[Prediction]
    timing: Timing


class Service(Protocol):
    """Replica as the HTTP routes use it."""

    @property
    def live(self) -> LiveModel:
        """Return the model that answers now. Raises NotReadyError before the first is loaded."""

    @property
    def status(self) -> ReplicaStatus:
        """Return this replica's status in a rollout. Raises NotReadyError before the first model."""

    def check_room(
        self, *, tenant: str = "", priority: Priority | None = None, body_bytes: int | None = None
    ) -> None:
        """Raise QueueFullError or NotReadyError if a request would be refused regardless of its body.

        Args:
            tenant: Sender of the request, see `classify`.
            priority: Class that the request names, or None.
            body_bytes: Size of its body, or None if it is unknown.
        """

    def check_health(self) -> None:
        """Raise ModelFailureError or NotReadyError if the replica is not healthy."""

    async def classify(
        self, texts: Sequence[str], *, deadline: float, tenant: str = "", priority: Priority | None = None
    ) -> PredictionBatch:
        """Score texts.

        Args:
            texts: At least one text; none is blank, all are within the limits.
            deadline: Time on the clock of `time.monotonic`.
            tenant: Sender of the request, such as the id of its API key; tenants take turns on the device. ""
                for requests without one.
            priority: "interactive" or "bulk"; None derives it from the size: interactive if the request fits
                into one batch.

        Raises:
            QueueFullError: The queue is full.
            PayloadTooLargeError: The request has more texts or tokens than the queue can hold.
            DeadlineExceededError: The deadline passed.
            UnprocessableTextError: The model fails on one of the texts.
            ModelFailureError: The forward pass failed.
            NotReadyError: No model is loaded.
        """
