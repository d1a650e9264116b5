"""SageMaker hosting and batch transform: POST /invocations, GET /execution-parameters.

The container's contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
and https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html; JSON bodies as the
Hugging Face containers have them: {"inputs": …, "parameters": {"top_k": …}}.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json

from serve_app.errors import BadJson, Invalid, UnsupportedMedia, excerpt
from serve_app.protocols.accept import choose
from serve_app.protocols.csv_texts import read_csv
from serve_app.protocols.shape import (
    Encoded,
    Json,
    Protocol,
    Question,
    check_values,
    invalid,
    media_type,
    predictions,
    read,
    refuse_truncated,
    to_json,
    too_many,
    utf8,
)
from serve_app.schemas import Segment
from serve_app.service import Classified
from serve_app.settings import Settings

JSON, LINES, CSV, TEXT = "application/json", "application/jsonlines", "text/csv", "text/plain"
_ANSWERS = (JSON, LINES, CSV)
_LINE = re.compile(rb"\S[^\r\n]*")
"""A line that is not blank, from its first character on."""
_MAX_PAYLOAD_MB = 6
"""What batch transform puts in a call where the container does not say otherwise."""


class SageMakerParameters(BaseModel):
    """Parameters of the `transformers` pipeline that are honoured; any other is refused by its name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    top_k: int | None = Field(default=1, ge=1, description="How many labels to answer; null for all.")
    return_all_scores: bool | None = Field(default=None, description="All labels, unless top_k is given.")
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        default=None, description="Only the function of the live model (`activation` of GET /v1/model)."
    )
    truncation: Literal[True, False, "longest_first", "only_first", "do_not_truncate"] | None = Field(
        default=None,
        description="True cuts a text at every limit; false refuses one that the model would not read whole.",
    )
    padding: Literal[True, False, "longest", "max_length", "do_not_pad"] | None = Field(
        default=None, description="Of no effect on the scores."
    )
    segment: Segment | None = None

    @property
    def labels(self) -> int | None:
        """How many labels to answer; None for all."""
        if self.return_all_scores and "top_k" not in self.model_fields_set:
            return None
        return self.top_k

    @property
    def is_cut(self) -> bool:
        """Whether a text may be cut wherever it is too long."""
        return self.truncation not in (None, False, "do_not_truncate")

    @property
    def is_whole(self) -> bool:
        """Whether a text must not be cut at all."""
        return self.truncation in (False, "do_not_truncate")


class SageMakerRequest(BaseModel):
    """One text or several."""

    model_config = ConfigDict(strict=True)

    inputs: str | list[str] = Field(min_length=1)
    parameters: SageMakerParameters | None = None


class SageMakerLine(BaseModel):
    """One text: a line of JSON lines."""

    model_config = ConfigDict(strict=True)

    inputs: str
    parameters: SageMakerParameters | None = None


class SageMakerPrediction(BaseModel):
    """A label and its score."""

    score: float
    label: str


SageMakerResponse = list[SageMakerPrediction] | list[list[SageMakerPrediction]]
"""One entry a text: its best label, or with another `top_k` than 1 a list of labels, best first."""


class ExecutionParameters(BaseModel):
    """How batch transform should call, as GET /execution-parameters answers it."""

    MaxConcurrentTransforms: int
    BatchStrategy: Literal["MULTI_RECORD"]
    MaxPayloadInMB: int


def execution_parameters(settings: Settings) -> Json:
    """One call at a time for each replica, each with as many records as the limit on the body allows."""
    mb = min(_MAX_PAYLOAD_MB, settings.max_body_bytes >> 20)
    return ExecutionParameters(
        MaxConcurrentTransforms=settings.replicas, BatchStrategy="MULTI_RECORD", MaxPayloadInMB=max(1, mb)
    ).model_dump()


def _decode(body: bytes, headers: Mapping[str, str], max_texts: int) -> Question:
    given = media_type(headers)
    reader = _READERS.get(given)
    if reader is None:
        raise UnsupportedMedia(f"content type {excerpt(given)}; send {', '.join(_READERS)}")
    question, default = reader(body, max_texts)
    offers = [default, *(answer for answer in _ANSWERS if answer != default)]
    question.options["media_type"] = choose(headers, offers)
    return question


def _read_json(body: bytes, max_texts: int) -> tuple[Question, str]:
    if _has_an_object_a_line(body):
        return _read_lines(body, max_texts)
    request = read(SageMakerRequest, body)
    one = isinstance(request.inputs, str)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    parameters = [request.parameters or _DEFAULTS] * len(texts)
    place = (lambda _: "/inputs") if one else "/inputs/{}".format
    return _question(texts, place, parameters, lambda _: "/parameters"), JSON


def _has_an_object_a_line(body: bytes) -> bool:
    """Whether JSON lines come as JSON: batch transform sends the content type that the job names."""
    first = _LINE.search(body)
    if first is None or not first[0].startswith(b"{") or _LINE.search(body, first.end()) is None:
        return False
    check_values(first[0])
    try:
        return isinstance(from_json(first[0]), dict)
    except ValueError:
        return False


def _read_lines(body: bytes, max_texts: int) -> tuple[Question, str]:
    lines = [line[0] for line in islice(_LINE.finditer(body), max_texts + 1)]
    if len(lines) > max_texts:
        raise too_many(max_texts, f"more than {max_texts}")
    requests = [_read_line(number, line) for number, line in enumerate(lines)]
    texts = [request.inputs for request in requests]
    parameters = [request.parameters or _DEFAULTS for request in requests]
    return _question(texts, "/{}/inputs".format, parameters, "/{}/parameters".format), LINES


def _read_line(number: int, line: bytes) -> SageMakerLine:
    try:
        return read(SageMakerLine, line)
    except BadJson as error:
        raise BadJson(f"record {number}, counted from 0: {error}") from None
    except Invalid as error:
        faults = error.fields
        raise invalid(
            [{"field": f"/{number}{fault['field']}", "message": fault["message"]} for fault in faults]
        ) from None


def _read_csv(body: bytes, max_texts: int) -> tuple[Question, str]:
    table = read_csv(body, max_texts)
    return _question(table.texts, table.place, [_DEFAULTS] * len(table.texts), str), JSON


def _read_text(body: bytes, _max_texts: int) -> tuple[Question, str]:
    return _question([utf8(body)], lambda _: "", [_DEFAULTS], str), JSON


_DEFAULTS = SageMakerParameters()
_READERS: dict[str, Callable[[bytes, int], tuple[Question, str]]] = {
    JSON: _read_json,
    LINES: _read_lines,
    CSV: _read_csv,
    TEXT: _read_text,
}
"""Of each content type: the question, and the media type of its answer unless the request prefers another."""


def _question(
    texts: list[str],
    place: Callable[[int], str],
    parameters: Sequence[SageMakerParameters],
    parameters_place: Callable[[int], str],
) -> Question:
    """The question of texts with parameters each."""
    return Question(
        texts,
        place,
        {
            "labels": [each.labels for each in parameters],
            "whole": [index for index, each in enumerate(parameters) if each.is_whole],
        },
        segment=[each.segment for each in parameters],
        cut=[each.is_cut for each in parameters],
        activations={
            each.function_to_apply: f"{parameters_place(index)}/function_to_apply"
            for index, each in enumerate(parameters)
            if each.function_to_apply is not None
        },
    )


def _encode(question: Question, answer: Classified, _request_id: str) -> Encoded:
    refuse_truncated(question, answer)
    labels = answer.model.labels
    rows = [
        predictions(labels, scored, count)
        for scored, count in zip(answer.results, question.options["labels"], strict=True)
    ]
    if question.options["media_type"] == CSV:
        return Encoded(_to_csv(rows), CSV)
    values = [
        row[0] if count == 1 else row for row, count in zip(rows, question.options["labels"], strict=True)
    ]
    if question.options["media_type"] == LINES:
        return Encoded(b"".join(to_json(value).content + b"\n" for value in values), LINES)
    return to_json(values)


def _to_csv(rows: Sequence[Sequence[Json]]) -> bytes:
    """A row a text: label, score, and with several labels label, score again; no header."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerows([value for each in row for value in (each["label"], each["score"])] for row in rows)
    return output.getvalue().encode()


SAGEMAKER = Protocol(_decode, _encode)
