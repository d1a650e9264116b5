"""SageMaker hosting: POST /invocations.

The container's contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html;
JSON bodies as the Hugging Face containers have them: {"inputs": …, "parameters": {"top_k": …}}.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field

from serve_app.errors import UnsupportedMedia, excerpt
from serve_app.protocols.shape import (
    MAX_JSON_VALUES,
    Protocol,
    Question,
    invalid,
    predictions,
    read,
    to_json,
    utf8,
)
from serve_app.schemas import Segment
from serve_app.service import Classified


class SageMakerParameters(BaseModel):
    """How many labels to answer: the best one by default, all with null; and what the texts belong to."""

    top_k: int | None = Field(default=1, ge=1)
    segment: Segment | None = None


class SageMakerRequest(BaseModel):
    """One text or several."""

    model_config = ConfigDict(strict=True)

    inputs: str | list[str] = Field(min_length=1)
    parameters: SageMakerParameters = SageMakerParameters()


def _decode(body: bytes, media_type: str) -> Question:
    reader = _READERS.get(media_type)
    if reader is None:
        raise UnsupportedMedia(f"content type {excerpt(media_type)}; send {', '.join(_READERS)}")
    return reader(body)


def _read_json(body: bytes) -> Question:
    request = read(SageMakerRequest, body)
    one = isinstance(request.inputs, str)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    options = {"media_type": "application/json", "top_k": request.parameters.top_k}
    place = (lambda _: "/inputs") if one else "/inputs/{}".format
    return Question(texts, place, options, request.parameters.segment)


def _read_lines(body: bytes) -> Question:
    texts: list[str] = []
    for number, line in enumerate(islice(io.BytesIO(body), MAX_JSON_VALUES)):
        if not line.strip():
            continue
        request = read(SageMakerRequest, line)
        if not isinstance(request.inputs, str):
            raise invalid([{"field": f"/{number}/inputs", "message": "a line holds one text"}])
        texts.append(request.inputs)
    return Question(texts, "/{}/inputs".format, {"media_type": "application/jsonlines", "top_k": 1})


def _read_csv(body: bytes) -> Question:
    try:
        filled = (row for row in csv.reader(io.StringIO(utf8(body))) if row)
        rows = list(islice(filled, MAX_JSON_VALUES))
    except csv.Error as error:
        raise invalid([{"field": "", "message": f"CSV; {error}"}]) from None
    if rows and rows[0][0].strip().lower() in ("inputs", "text"):
        rows = rows[1:]
    return Question([row[0] for row in rows], "/{}/0".format, {"media_type": "application/json", "top_k": 1})


def _read_text(body: bytes) -> Question:
    return Question([utf8(body)], lambda _: "", {"media_type": "application/json", "top_k": 1})


_READERS: dict[str, Callable[[bytes], Question]] = {
    "application/json": _read_json,
    "application/jsonlines": _read_lines,
    "text/csv": _read_csv,
    "text/plain": _read_text,
}


def _encode(question: Question, answer: Classified, _request_id: str) -> tuple[bytes, str]:
    top_k = question.options["top_k"]
    rows = [predictions(answer.model.labels, scored)[:top_k] for scored in answer.results]
    best_only = [row[0] for row in rows] if top_k == 1 else rows
    if question.options["media_type"] == "application/jsonlines":
        lines = [to_json(row)[0] for row in best_only]
        return b"\n".join(lines) + b"\n", "application/jsonlines"
    return to_json(best_only)


SAGEMAKER = Protocol(_decode, _encode)
