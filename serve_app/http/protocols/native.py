"""Native protocol: POST /v1/classify and POST /v1/feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serve_app.errors import FieldError
from serve_app.http.protocols.base import (
    DecodedRequest,
    EncodedResponse,
    Json,
    Protocol,
    expect_json,
    invalid,
    media_type,
    ranked,
    read,
    to_json,
)
from serve_app.http.schemas import ClassifyRequest, Feedback, FeedbackList
from serve_app.interface import LiveModel, Prediction, PredictionBatch


def _decode(body: bytes, headers: Mapping[str, str], _max_texts: int) -> DecodedRequest:
    expect_json(media_type(headers))
    request = read(ClassifyRequest, body)
    one = isinstance(request.inputs, str)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    place = (lambda _: "/inputs") if one else "/inputs/{}".format
    return DecodedRequest(texts, place, {"top_k": request.top_k}, request.segment)


def read_feedback(body: bytes, headers: Mapping[str, str], labels: Sequence[str]) -> list[Feedback]:
    """Read the feedback in a body: one item, or a list of items.

    Raises:
        BadJsonError, InvalidRequestError, UnsupportedMediaTypeError: As for texts; InvalidRequestError also
            for a label that is not in `labels`.
    """
    expect_json(media_type(headers))
    several = body.lstrip().startswith(b"[")
    items = read(FeedbackList, body).root if several else [read(Feedback, body)]
    if faults := [
        FieldError(
            field=f"/{place}/label" if several else "/label", message=f"expected one of {', '.join(labels)}"
        )
        for place, item in enumerate(items)
        if item.label not in labels
    ]:
        raise invalid(faults)
    return items


def _encode(question: DecodedRequest, answer: PredictionBatch, request_id: str) -> EncodedResponse:
    timing = answer.timing
    total_s = timing.tokenize_s + timing.queue_s + timing.forward_s
    return to_json(
        {
            "request_id": request_id,
            "model": {"name": answer.model.name, "version": answer.model.version},
            "results": [
                _result(answer.model, scored, question.options["top_k"]) for scored in answer.results
            ],
            "timing": {
                "tokenize_ms": round(1000 * timing.tokenize_s, 3),
                "queue_ms": round(1000 * timing.queue_s, 3),
                "forward_ms": round(1000 * timing.forward_s, 3),
                "total_ms": round(1000 * total_s, 3),
            },
        }
    )


def _result(model: LiveModel, scored: Prediction, top_k: int | None) -> Json:
    best_first = ranked(model.labels, scored)
    return {
        "label": model.answer_label(scored.scores),
        "score": best_first[0][1],
        "scores": dict(best_first[:top_k]),
        "tokens": scored.tokens,
        "truncated": scored.truncated,
    }


NATIVE = Protocol(_decode, _encode)
