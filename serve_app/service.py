"""What the HTTP side asks of the replica, and what it gets: the seam between `api` and `deployment`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serve_app.batching.admission import Priority
from serve_app.choice import Role


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The model that answers.

    Attributes:
        name: of the bundle.
        version: of the bundle.
        uri: where it was loaded from.
        digest: SHA-256 of its manifest, and through it of every file.
        labels: in the order of the scores.
        activation: what makes the scores: "softmax", or "sigmoid" where labels do not exclude one another.
        max_length: tokens after which a text is cut.
        device: e.g. "cpu" or "cuda:0".
        dtype: e.g. "float32".
        packed: whether texts run without padding.
        graph: whether they run without the interpreter.
        loaded_at: UTC, ISO 8601.
        startup: seconds of start, import, load and warm-up; bytes of memory that import and model added.
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


@dataclass(frozen=True, slots=True)
class LoadFailure:
    """A model that could not be loaded: its address, the error's type, and what it said."""

    uri: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A replica's part in a rollout.

    Attributes:
        rank: of this replica among the deployment's; the lowest ones are the canary's.
        role: "champion" or "canary", whichever answers, or "shadow": the champion answers, the canary scores
            the same texts aside.
        champion: address of the deployment's champion.
        canary: address of the deployment's canary, or None.
        shadow: version of the model that scores aside, or None.
        state: "live"; "loading" while another model comes; "failed" if it did not, and the earlier one stays.
        failed: the model that could not be loaded, or None.
    """

    rank: int
    role: str
    champion: str
    canary: str | None
    shadow: str | None
    state: str
    failed: LoadFailure | None

    def role_of(self, model: LiveModel) -> Role:
        """As what a model of this replica answers: one of several while they change."""
        return "canary" if model.uri == self.canary != self.champion else "champion"


@dataclass(frozen=True, slots=True)
class Scored:
    """One text's outcome: scores in the order of the model's labels, each in 0..1.

    `unknown_tokens` of the `tokens` stand for what the tokenizer does not know.
    """

    scores: Sequence[float]
    tokens: int
    truncated: bool
    unknown_tokens: int = 0


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

    @property
    def standing(self) -> Standing:
        """This replica's part in a rollout. Raises NotReady before the first model is loaded."""

    def check_room(
        self, *, tenant: str = "", priority: Priority | None = None, body_bytes: int | None = None
    ) -> None:
        """Raise QueueFull or NotReady if a request would be refused whatever it holds.

        Args:
            tenant: whose request it is, see `classify`.
            priority: class that the request names, or None.
            body_bytes: size of its body, or None if it is not known.
        """

    def check_health(self) -> None:
        """Raise ModelFailure or NotReady if the replica does not answer as it should."""

    async def classify(
        self, texts: Sequence[str], *, deadline: float, tenant: str = "", priority: Priority | None = None
    ) -> Classified:
        """Score texts.

        Args:
            texts: at least one, none blank, within the limits.
            deadline: on `time.monotonic`'s clock.
            tenant: whose request it is, such as the id of its API key; tenants take turns on the device. ""
                is nobody in particular.
            priority: "interactive" or "bulk"; None for that of its size: interactive if it fits into one
                batch.

        Raises:
            QueueFull: there is no room.
            TooLarge: more texts or tokens than the queue holds.
            DeadlineExceeded: the deadline passed first.
            UnprocessableTextError: the model fails on one of them.
            ModelFailure: the device failed.
            NotReady: no model is loaded.
        """
