"""What the HTTP side asks of the replica, and what it gets: the seam between `api` and `deployment`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The model that answers.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        uri: where it was loaded from.
        labels: in the order of the scores.
        max_length: tokens after which a text is cut.
        device: e.g. "cpu" or "cuda:0".
        dtype: e.g. "float32".
        packed: whether texts run without padding.
        loaded_at: UTC, ISO 8601.
        startup: seconds of start, import, load and warm-up; bytes of memory that import and model added.
    """

    name: str
    version: str
    uri: str
    labels: tuple[str, ...]
    max_length: int
    device: str
    dtype: str
    packed: bool
    loaded_at: str
    startup: dict[str, float]


@dataclass(frozen=True, slots=True)
class Scored:
    """One text's outcome: scores in the order of the model's labels, each in 0..1."""

    scores: Sequence[float]
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """Where a request's time went, in seconds. `forward_s` adds up all batches it was part of."""

    tokenize_s: float
    queue_s: float
    forward_s: float


@dataclass(frozen=True, slots=True)
class Classified:
    """A request's outcome: one entry a text, in the order of the texts, all by the same model."""

    model: LiveModel
    results: list[Scored]
    timing: Timing


class Service(Protocol):
    """A replica as the HTTP side sees it."""

    @property
    def live(self) -> LiveModel:
        """The model that answers now. Raises NotReady before the first is loaded."""

    def check_room(self) -> None:
        """Raise QueueFull or NotReady if a request would be refused whatever it holds."""

    def check_health(self) -> None:
        """Raise ModelFailure or NotReady if the replica does not answer as it should."""

    async def classify(self, texts: Sequence[str], *, deadline: float) -> Classified:
        """Score texts.

        Args:
            texts: at least one, none blank, within the limits.
            deadline: on `time.monotonic`'s clock.

        Raises:
            QueueFull: there is no room.
            DeadlineExceeded: the deadline passed first.
            ModelFailure: the model failed on them.
            NotReady: no model is loaded.
        """
