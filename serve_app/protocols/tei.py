"""Hugging Face text-embeddings-inference: POST /predict.

Shapes: https://huggingface.github.io/text-embeddings-inference (PredictRequest, PredictResponse).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from serve_app.errors import TooLarge
from serve_app.protocols.shape import Protocol, Question, expect_json, invalid, predictions, read, to_json
from serve_app.service import Classified


class TeiRequest(BaseModel):
    """One text, or a batch of one-element lists."""

    model_config = ConfigDict(strict=True)

    inputs: str | list[list[str]] | list[str]
    truncate: bool | None = None
    truncation_direction: str | None = None
    raw_scores: bool = False


def _decode(body: bytes, media_type: str) -> Question:
    expect_json(media_type)
    request = read(TeiRequest, body)
    if request.raw_scores:
        raise invalid([{"field": "/raw_scores", "message": "only false: the answers are probabilities"}])
    if request.truncation_direction not in (None, "right", "Right"):
        raise invalid([{"field": "/truncation_direction", "message": "only 'right' is supported"}])
    options = {"one": True, "truncate": request.truncate}
    if isinstance(request.inputs, str):
        return Question([request.inputs], lambda _: "/inputs", options)
    texts: list[str] = []
    batch = bool(request.inputs) and isinstance(request.inputs[0], list)
    rows = request.inputs if batch else [request.inputs]
    for index, row in enumerate(rows):
        where = f"/inputs/{index}" if batch else "/inputs"
        if len(row) != 1:
            message = f"one text, got {len(row)}; pairs are not supported, a batch is [[text], [text], …]"
            raise invalid([{"field": where, "message": message}])
        texts.append(str(row[0]))
    options["one"] = not batch
    return Question(texts, "/inputs/{}/0".format if batch else (lambda _: "/inputs/0"), options)


def _encode(question: Question, answer: Classified, _request_id: str) -> tuple[bytes, str]:
    _refuse_truncated(question, answer)
    rows = [predictions(answer.model.labels, scored) for scored in answer.results]
    return to_json(rows[0] if question.options["one"] else rows)


def _refuse_truncated(question: Question, answer: Classified) -> None:
    """`truncate: false` asks for an error rather than for an answer about part of a text."""
    if question.options["truncate"] is not False:
        return
    for index, scored in enumerate(answer.results):
        if scored.truncated:
            raise TooLarge(
                f"{question.place(index)} has more than {answer.model.max_length} tokens and truncate is "
                "false; shorten it, or leave truncate out"
            )


TEI = Protocol(_decode, _encode)
