"""Hugging Face text-embeddings-inference: POST /predict, POST / and GET /info.

Schemas: https://huggingface.github.io/text-embeddings-inference (PredictRequest, PredictResponse, Info). A
    body with
`parameters` is a request of the Inference API, as `huggingface_hub.InferenceClient` sends it: its response is
nested in one more list and has `top_k` labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.http.protocols.base import (
    DecodedRequest,
    EncodedResponse,
    Json,
    Protocol,
    expect_json,
    invalid,
    media_type,
    predictions,
    read,
    refuse_truncated,
    to_json,
)
from serve_app.interface import LiveModel, PredictionBatch
from serve_app.settings import BATCH_TOKENS, Settings


class TeiParameters(BaseModel):
    """Supported parameters of the Inference API; any other is rejected by name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    top_k: int | None = Field(default=None, ge=1, description="Number of labels to return; default: all.")
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        default=None, description="Must be the function of the live model (`activation` of GET /v1/model)."
    )


class TeiRequest(BaseModel):
    """Request with one text, or a batch of one-element lists."""

    model_config = ConfigDict(strict=True)

    inputs: str | list[list[str]] | list[str]
    truncate: bool | None = Field(
        default=None,
        description="true truncates a text at every limit; false rejects a text that the model would "
        "truncate.",
    )
    truncation_direction: str | None = None
    raw_scores: bool = False
    parameters: TeiParameters | None = Field(
        default=None, description="Nests the response to one text in a list, as in the Inference API."
    )


class TeiPrediction(BaseModel):
    """Label with its score."""

    score: float
    label: str


TeiResponse = list[TeiPrediction] | list[list[TeiPrediction]]
"""Labels of one text, best first; for a batch or a body with `parameters`, such a list for each text."""


class TeiLabels(BaseModel):
    """Mapping of ids to labels and of labels to ids."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class TeiModelType(BaseModel):
    """Type of the model: always a classifier."""

    classifier: TeiLabels


class TeiInfo(BaseModel):
    """Response of GET /info: the model and the configured limits."""

    model_id: str
    model_sha: str | None = Field(description="SHA-256 of the bundle's manifest.")
    model_dtype: str
    model_type: TeiModelType
    max_concurrent_requests: int = Field(description="Maximum number of queued texts.")
    max_input_length: int = Field(
        description="Maximum number of tokens per text; longer texts are truncated."
    )
    max_batch_tokens: int
    max_batch_requests: int | None = Field(description="Maximum number of texts in a batch.")
    max_client_batch_size: int = Field(description="Maximum number of texts per request.")
    auto_truncate: bool
    tokenization_workers: int
    version: str = Field(description="Version of the model.")
    sha: str | None
    docker_label: str | None


def info(live: LiveModel, settings: Settings) -> Json:
    """Return the response of GET /info."""
    classifier = TeiLabels(
        id2label={str(number): label for number, label in enumerate(live.labels)},
        label2id={label: number for number, label in enumerate(live.labels)},
    )
    return TeiInfo(
        model_id=live.name,
        model_sha=live.digest,
        model_dtype=live.dtype,
        model_type=TeiModelType(classifier=classifier),
        max_concurrent_requests=settings.max_queue_items,
        max_input_length=live.max_length,
        max_batch_tokens=settings.max_batch_tokens or BATCH_TOKENS[live.device.partition(":")[0]],
        max_batch_requests=settings.max_batch_items,
        max_client_batch_size=settings.max_texts_per_request,
        auto_truncate=True,
        tokenization_workers=1,
        version=live.version,
        sha=None,
        docker_label=None,
    ).model_dump()


def _decode(body: bytes, headers: Mapping[str, str], _max_texts: int) -> DecodedRequest:
    expect_json(media_type(headers))
    request = read(TeiRequest, body)
    if request.raw_scores:
        message = "expected false; the scores are always probabilities"
        raise invalid([{"field": "/raw_scores", "message": message}])
    if request.truncation_direction not in (None, "right", "Right"):
        raise invalid([{"field": "/truncation_direction", "message": "expected 'right'"}])
    parameters = request.parameters or TeiParameters()
    if isinstance(request.inputs, str):
        texts, place, one = [request.inputs], (lambda _: "/inputs"), True
    else:
        one = not request.inputs or isinstance(request.inputs[0], str)
        rows = [request.inputs] if one else request.inputs
        texts = [_text(row, "/inputs" if one else f"/inputs/{index}") for index, row in enumerate(rows)]
        place = (lambda _: "/inputs/0") if one else "/inputs/{}/0".format
    function = parameters.function_to_apply
    return DecodedRequest(
        texts,
        place,
        {
            "one": one and request.parameters is None,
            "top_k": parameters.top_k,
            "whole": range(len(texts)) if request.truncate is False else (),
        },
        cut=request.truncate is True,
        activations={function: "/parameters/function_to_apply"} if function else {},
    )


def _text(row: Sequence[Any], field: str) -> str:
    if len(row) == 1:
        return str(row[0])
    found = "a pair of texts" if len(row) == 2 else f"{len(row)} texts"
    message = f"expected one text, got {found}; pairs are not supported, a batch is [[text], [text], …]"
    raise invalid([{"field": field, "message": message}])


def _encode(question: DecodedRequest, answer: PredictionBatch, _request_id: str) -> EncodedResponse:
    refuse_truncated(question, answer)
    top_k = question.options["top_k"]
    rows = [predictions(answer.model, scored, top_k) for scored in answer.results]
    return to_json(rows[0] if question.options["one"] else rows)


TEI = Protocol(_decode, _encode)
