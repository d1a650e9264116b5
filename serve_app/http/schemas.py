"""Request and response models of the native routes, and the problem document of errors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

Texts = Annotated[list[str], Field(min_length=1)]
Segment = Annotated[
    str,
    Field(
        max_length=128,
        description="Group of traffic that the texts belong to, such as a product; stored in the prediction "
        "log.",
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ClassifyRequest(_Request):
    """Texts to classify."""

    inputs: str | Texts = Field(description="One text or several texts, none of them blank.")
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="Number of labels in `scores`, highest score first; default: all.",
    )
    segment: Segment | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": ["I love this cream", "It ruined my skin"]}]}
    )


class ModelRef(BaseModel):
    """Model that answered."""

    name: str
    version: str


class Result(BaseModel):
    """Prediction for one text."""

    label: str = Field(
        description="Label with the highest score; NEUTRAL if that score is below `neutral_below` of GET "
        "/v1/model."
    )
    score: float = Field(ge=0, le=1, description="Highest score.")
    scores: dict[str, float] = Field(description="Score of each label, highest first, at most `top_k`.")
    tokens: int = Field(description="Number of tokens of the text, with special tokens.")
    truncated: bool = Field(description="Whether the text was truncated at the model's maximum length.")


class TimingMs(BaseModel):
    """Time in the replica by phase, in milliseconds."""

    tokenize_ms: float
    queue_ms: float = Field(description="Time waiting for the device.")
    forward_ms: float = Field(description="Forward pass; the sum over all batches with texts of the request.")
    total_ms: float


class ClassifyResponse(BaseModel):
    """Predictions in the order of the texts, all by one model."""

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
    """True label of a classified text."""

    request_id: str = Field(pattern=r"^[\x21-\x7e]{1,128}$", description="X-Request-ID of the prediction.")
    index: int = Field(default=0, ge=0, lt=1 << 31, description="Index of the text in its request, from 0.")
    label: str = Field(description="True label, one of the model's labels.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"request_id": "5f0c", "index": 0, "label": "NEGATIVE"}]}
    )


class FeedbackList(RootModel[Annotated[list[Feedback], Field(min_length=1, max_length=1000)]]):
    """Feedback on several texts."""


class FeedbackBody(RootModel[Feedback | FeedbackList]):
    """Feedback on one text or on several."""


class FeedbackResponse(BaseModel):
    """Number of stored labels, and their comparison with the predictions."""

    accepted: int = Field(description="Number of labels stored.")
    right: int = Field(description="Number of predictions with the true label.")
    wrong: int = Field(description="Number of predictions with another label.")
    unknown: int = Field(
        description="Number of labels whose prediction this replica does not remember, because it is too old "
        "or by another replica. They are stored too."
    )


class Limits(BaseModel):
    """Limits of a request; larger requests are answered 413."""

    max_texts_per_request: int
    max_body_bytes: int
    max_chars_per_text: int
    default_timeout_ms: int


class FailedLoad(BaseModel):
    """Model that is assigned to this replica and could not be loaded."""

    uri: str
    reason: str = Field(description="Type of the error, such as digest-mismatch.")
    detail: str


class ModelInfo(BaseModel):
    """Live model of the replica that answered, and that replica's status in a rollout."""

    name: str
    version: str
    uri: str
    digest: str = Field(description="SHA-256 of the manifest, which lists the SHA-256 of every file.")
    labels: list[str] = Field(description="Labels of the model, each with a score.")
    answer_labels: list[str] = Field(
        description="Labels that an answer may have: those of the model, and NEUTRAL with `neutral_below`."
    )
    neutral_below: float | None = Field(
        description="Score of the best label below which the label of an answer is NEUTRAL; null: never."
    )
    languages: list[str] = Field(
        description="Language codes of the texts that the model is for, as its card states them; empty: not "
        "stated."
    )
    license: str | None = Field(description="Terms of the model, as its card states them; null: not stated.")
    activation: Literal["softmax", "sigmoid"] = Field(
        description="Function that turns logits into scores; sigmoid for multi-label models."
    )
    max_length: int = Field(description="Maximum number of tokens per text; longer texts are truncated.")
    device: str
    dtype: str = Field(
        description="Data type of the weights, such as bfloat16; with SENTIMENT_PRECISION=auto the selected "
        "one."
    )
    packed: bool = Field(description="Whether batches run without padding.")
    graph: bool = Field(
        description="Whether batches run as a TorchScript graph, without the Python interpreter; on CPUs "
        "only."
    )
    loaded_at: str = Field(description="Time of loading: UTC, ISO 8601.")
    startup: dict[str, float] = Field(
        description="Cold start by phase in seconds: start, import, load, warm-up; and bytes of memory that "
        "the libraries (import) and the model (load, warm-up) added."
    )
    rank: int = Field(description="Rank of this replica; the lowest ranks serve the canary.")
    role: Literal["champion", "canary", "shadow"] = Field(
        description="Model that answers: champion or canary; with shadow the champion answers, and the "
        "canary scores the same texts without answering."
    )
    champion: str = Field(description="URI of the deployment's champion.")
    canary: str | None = Field(description="URI of the deployment's canary.")
    shadow: str | None = Field(description="Version of the shadow model.")
    state: Literal["live", "loading", "failed"] = Field(
        description="Whether another model is being loaded, or could not be loaded; this one answers "
        "meanwhile."
    )
    failed: FailedLoad | None
    limits: Limits


class FieldFault(BaseModel):
    """Fault in a request body."""

    field: str = Field(description="JSON pointer, such as /inputs/3; empty for the entire body.")
    message: str


class Problem(BaseModel):
    """Error as an RFC 9457 problem document."""

    type: str = Field(description="Type of the error: a stable URN.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, where, the value, the next step.")
    error: str = Field(description="The same as `detail`, for clients of the compatible protocols.")
    request_id: str
    errors: list[FieldFault] | None = Field(
        default=None, description="With 422: the faults with their locations, 20 at most."
    )
    errors_omitted: int | None = Field(
        default=None, description="With 422: number of further faults, if not all are listed."
    )
    retry_after_s: float | None = Field(
        default=None, description="With 429: Retry-After in seconds before rounding."
    )
