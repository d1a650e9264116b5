"""The public request and response models of the native routes, and of every error."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

Texts = Annotated[list[str], Field(min_length=1)]
Segment = Annotated[
    str,
    Field(
        max_length=128,
        description="What the texts belong to, such as a product; kept with what is captured.",
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ClassifyRequest(_Request):
    """Texts to classify."""

    inputs: str | Texts = Field(description="One text or several. None may be blank.")
    top_k: int | None = Field(
        default=None, ge=1, description="How many labels `scores` holds, best first; all by default."
    )
    segment: Segment | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": ["I love this cream", "It ruined my skin"]}]}
    )


class ModelRef(BaseModel):
    """Which model answered."""

    name: str
    version: str


class Result(BaseModel):
    """One text's answer."""

    label: str = Field(description="The label with the highest score.")
    score: float = Field(ge=0, le=1, description="That label's score.")
    scores: dict[str, float] = Field(description="Score of each label, best first, at most `top_k`.")
    tokens: int = Field(description="Tokens the model read, its special ones included.")
    truncated: bool = Field(description="Whether the text went on beyond the model's limit.")


class TimingMs(BaseModel):
    """Where the time went in the replica, in milliseconds."""

    tokenize_ms: float
    queue_ms: float = Field(description="Waiting for the device.")
    forward_ms: float = Field(description="On the device; all batches the request was part of, added up.")
    total_ms: float


class ClassifyResponse(BaseModel):
    """Answers in the order of the texts, all by one model."""

    request_id: str
    model: ModelRef
    results: list[Result]
    timing: TimingMs

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "5f0c",
                    "model": {"name": "builtin-sentiment", "version": "1"},
                    "results": [
                        {
                            "label": "POSITIVE",
                            "score": 0.98,
                            "scores": {"POSITIVE": 0.98, "NEGATIVE": 0.02},
                            "tokens": 6,
                            "truncated": False,
                        }
                    ],
                    "timing": {"tokenize_ms": 0.1, "queue_ms": 0.1, "forward_ms": 7.9, "total_ms": 8.3},
                }
            ]
        }
    )


class Feedback(_Request):
    """What a text really was."""

    request_id: str = Field(pattern=r"^[\x21-\x7e]{1,128}$", description="X-Request-ID of the answer.")
    index: int = Field(
        default=0, ge=0, lt=1 << 31, description="Which of the request's texts, counted from 0."
    )
    label: str = Field(description="The right label, one of the model's.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request_id": "5f0c", "index": 0, "label": "NEGATIVE"}]}
    )


class FeedbackList(RootModel[Annotated[list[Feedback], Field(min_length=1, max_length=1000)]]):
    """Feedback on several texts."""


class FeedbackResponse(BaseModel):
    """What was taken, and how it compares with what was answered."""

    accepted: int
    right: int = Field(description="The answer's label was the right one.")
    wrong: int
    unknown: int = Field(
        description="Of answers that this replica does not remember: too long ago, or another replica's. "
        "Stored all the same."
    )


class Limits(BaseModel):
    """What a request may hold; more is answered 413."""

    max_texts_per_request: int
    max_body_bytes: int
    max_chars_per_text: int
    default_timeout_ms: int


class FailedLoad(BaseModel):
    """A model that this replica is to serve and could not load."""

    uri: str
    reason: str = Field(description="Type of the error, e.g. digest-mismatch.")
    detail: str


class ModelInfo(BaseModel):
    """The model that is live on the replica that answered, and that replica's part in a rollout."""

    name: str
    version: str
    uri: str
    digest: str = Field(description="SHA-256 of its manifest, and through it of every file.")
    labels: list[str]
    activation: Literal["softmax", "sigmoid"] = Field(
        description="What makes the scores: sigmoid where a text may have several labels."
    )
    max_length: int = Field(description="Tokens after which a text is cut.")
    device: str
    dtype: str
    packed: bool = Field(description="Whether texts run without padding.")
    graph: bool = Field(description="Whether they run as a graph, without the interpreter; on a CPU alone.")
    loaded_at: str = Field(description="UTC, ISO 8601.")
    startup: dict[str, float] = Field(
        description="Seconds from the process's start to its first answer: start, import, load, warm-up; and "
        "bytes of memory that the libraries (import) and the model (load, warm-up) added."
    )
    rank: int = Field(description="Of this replica; the lowest ranks are the canary's.")
    role: Literal["champion", "canary", "shadow"] = Field(
        description="Which of the two answers; with shadow the champion does, and the canary scores aside."
    )
    champion: str = Field(description="Address of the deployment's champion.")
    canary: str | None = Field(description="Address of the deployment's canary.")
    shadow: str | None = Field(description="Version of the model that scores aside.")
    state: Literal["live", "loading", "failed"] = Field(
        description="Whether another model is being loaded, or could not be; the one named here answers."
    )
    failed: FailedLoad | None
    limits: Limits


class FieldFault(BaseModel):
    """One thing wrong in a body."""

    field: str = Field(description="JSON pointer, e.g. /inputs/3; empty for the whole body.")
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = Field(description="Which kind of error: a URN that never changes.")
    title: str
    status: int
    detail: str = Field(description="What, where, the value, the next step.")
    error: str = Field(description="The same as `detail`, for clients of the compatible protocols.")
    request_id: str
    errors: list[FieldFault] | None = Field(
        default=None, description="With 422: each fault and its place, 20 at most."
    )
    errors_omitted: int | None = Field(
        default=None, description="With 422: how many more faults there are, where not all are listed."
    )
    retry_after_s: float | None = Field(default=None, description="With 429: Retry-After before rounding.")
