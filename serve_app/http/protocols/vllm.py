"""vLLM's classification API: POST /classify.

Schemas: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html (Classification API) and
vllm/entrypoints/pooling/classify/protocol.py (ClassificationCompletionRequest, ClassificationResponse).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from serve_app.http.protocols.base import (
    DecodedRequest,
    EncodedResponse,
    Protocol,
    expect_json,
    media_type,
    read,
    to_json,
)
from serve_app.interface import PredictionBatch


class VllmRequest(BaseModel):
    """Request with one text or several. Options of vLLM that change scores must have this service's value."""

    model_config = ConfigDict(strict=True)

    input: str | list[str] = Field(min_length=1, description="Texts; token ids are not supported.")
    model: str | None = Field(default=None, description="Name of the live model.")
    truncate_prompt_tokens: Literal[-1] | None = Field(
        default=None, description="Texts are always truncated at the model's maximum number of tokens."
    )
    truncation_side: Literal["right"] | None = None
    add_special_tokens: Literal[True] = True
    use_activation: Literal[True] | None = Field(
        default=None, description="The scores are always probabilities."
    )
    activation: Literal[True] | None = Field(default=None, description="As `use_activation`.")
    softmax: Literal[True] | None = Field(default=None, description="As `use_activation`.")


class VllmPrediction(BaseModel):
    """Prediction for one text."""

    index: int
    label: str
    probs: list[float] = Field(description="Scores in the order of the model's labels.")
    num_classes: int


class VllmUsage(BaseModel):
    """Number of tokens of the texts."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: None


class VllmResponse(BaseModel):
    """Predictions in the order of the texts."""

    id: str = Field(description="The prefix classify- followed by X-Request-ID.")
    object: Literal["list"]
    created: int = Field(description="Time in seconds since 1970, UTC.")
    model: str
    data: list[VllmPrediction]
    usage: VllmUsage


def _decode(body: bytes, headers: Mapping[str, str], _max_texts: int) -> DecodedRequest:
    expect_json(media_type(headers))
    request = read(VllmRequest, body)
    one = isinstance(request.input, str)
    texts = [request.input] if isinstance(request.input, str) else request.input
    return DecodedRequest(texts, (lambda _: "/input") if one else "/input/{}".format, model=request.model)


def _encode(_question: DecodedRequest, answer: PredictionBatch, request_id: str) -> EncodedResponse:
    labels = answer.model.labels
    tokens = sum(scored.tokens for scored in answer.results)
    return to_json(
        {
            "id": f"classify-{request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": answer.model.name,
            "data": [
                {
                    "index": index,
                    "label": answer.model.answer_label(scored.scores),
                    "probs": list(scored.scores),
                    "num_classes": len(labels),
                }
                for index, scored in enumerate(answer.results)
            ],
            "usage": {
                "prompt_tokens": tokens,
                "total_tokens": tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
            },
        }
    )


VLLM = Protocol(_decode, _encode)
