"""SageMaker hosting and batch transform: POST /invocations, GET /execution-parameters.

Container contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
and https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html. JSON bodies have the
format of the Hugging Face containers: {"inputs": …, "parameters": {"top_k": …}}.
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

from serve_app.errors import BadJsonError, InvalidRequestError, UnsupportedMediaTypeError, excerpt
from serve_app.http.protocols.base import (
    DecodedRequest,
    EncodedResponse,
    Json,
    Protocol,
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
from serve_app.http.protocols.content_negotiation import choose
from serve_app.http.protocols.csv_texts import read_csv
from serve_app.http.schemas import Segment
from serve_app.interface import PredictionBatch
from serve_app.settings import Settings

JSON, LINES, CSV, TEXT = "application/json", "application/jsonlines", "text/csv", "text/plain"
_ANSWERS = (JSON, LINES, CSV)
_LINE = re.compile(rb"\S[^\r\n]*")
"""A line that is not blank, from its first visible character."""
_MAX_PAYLOAD_MB = 6
"""Batch transform's default of the maximum payload per call."""


class SageMakerParameters(BaseModel):
    """Supported parameters of the `transformers` pipeline; any other is rejected by name."""

    model_config = ConfigDict(extra="forbid", strict=True)

    top_k: int | None = Field(default=1, ge=1, description="Number of labels to return; null for all.")
    return_all_scores: bool | None = Field(
        default=None, description="Whether to return all labels if top_k is not set."
    )
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        default=None, description="Must be the function of the live model (`activation` of GET /v1/model)."
    )
    truncation: Literal[True, False, "longest_first", "only_first", "do_not_truncate"] | None = Field(
        default=None,
        description="true truncates a text at every limit; false rejects a text that the model would "
        "truncate.",
    )
    padding: Literal[True, False, "longest", "max_length", "do_not_pad"] | None = Field(
        default=None, description="No effect on the scores."
    )
    segment: Segment | None = None

    @property
    def labels(self) -> int | None:
        """Number of labels to return; None for all."""
        if self.return_all_scores and "top_k" not in self.model_fields_set:
            return None
        return self.top_k

    @property
    def is_cut(self) -> bool:
        """Whether a text is truncated at every limit."""
        return self.truncation not in (None, False, "do_not_truncate")

    @property
    def is_whole(self) -> bool:
        """Whether a text must not be truncated."""
        return self.truncation in (False, "do_not_truncate")


class SageMakerRequest(BaseModel):
    """Request with one text or several."""

    model_config = ConfigDict(strict=True)

    inputs: str | list[str] = Field(min_length=1)
    parameters: SageMakerParameters | None = None


class SageMakerLine(BaseModel):
    """Line of a JSON-lines request, with one text."""

    model_config = ConfigDict(strict=True)

    inputs: str
    parameters: SageMakerParameters | None = None


class SageMakerPrediction(BaseModel):
    """Label with its score."""

    score: float
    label: str


SageMakerResponse = list[SageMakerPrediction] | list[list[SageMakerPrediction]]
"""One entry per text: its best label, or with a `top_k` other than 1 a list of labels, best first."""


class ExecutionParameters(BaseModel):
    """Response of GET /execution-parameters: how batch transform should call the container."""

    MaxConcurrentTransforms: int
    BatchStrategy: Literal["MULTI_RECORD"]
    MaxPayloadInMB: int


def execution_parameters(settings: Settings) -> Json:
    """Return one concurrent call per replica, with as many records as the limit on the body allows."""
    mb = min(_MAX_PAYLOAD_MB, settings.max_body_bytes >> 20)
    return ExecutionParameters(
        MaxConcurrentTransforms=settings.replicas, BatchStrategy="MULTI_RECORD", MaxPayloadInMB=max(1, mb)
    ).model_dump()


def _decode(body: bytes, headers: Mapping[str, str], max_texts: int) -> DecodedRequest:
    given = media_type(headers)
    reader = _READERS.get(given)
    if reader is None:
        raise UnsupportedMediaTypeError(
            f"content type {excerpt(given)} is not supported; expected one of {', '.join(_READERS)}"
        )
    question, default = reader(body, max_texts)
    offers = [default, *(answer for answer in _ANSWERS if answer != default)]
    question.options["media_type"] = choose(headers, offers)
    return question


def _read_json(body: bytes, max_texts: int) -> tuple[DecodedRequest, str]:
    if _has_an_object_a_line(body):
        return _read_lines(body, max_texts)
    request = read(SageMakerRequest, body)
    one = isinstance(request.inputs, str)
    texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
    parameters = [request.parameters or _DEFAULTS] * len(texts)
    place = (lambda _: "/inputs") if one else "/inputs/{}".format
    return _question(texts, place, parameters, lambda _: "/parameters"), JSON


def _has_an_object_a_line(body: bytes) -> bool:
    """Return whether a JSON body holds JSON lines: batch transform sends the content type of its job."""
    first = _LINE.search(body)
    if first is None or not first[0].startswith(b"{") or _LINE.search(body, first.end()) is None:
        return False
    check_values(first[0])
    try:
        return isinstance(from_json(first[0]), dict)
    except ValueError:
        return False


def _read_lines(body: bytes, max_texts: int) -> tuple[DecodedRequest, str]:
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
    except BadJsonError as error:
        raise BadJsonError(f"record {number} (from 0): {error}") from None
    except InvalidRequestError as error:
        faults = error.fields
        raise invalid(
            [{"field": f"/{number}{fault['field']}", "message": fault["message"]} for fault in faults]
        ) from None


def _read_csv(body: bytes, max_texts: int) -> tuple[DecodedRequest, str]:
    table = read_csv(body, max_texts)
    return _question(table.texts, table.place, [_DEFAULTS] * len(table.texts), str), JSON


def _read_text(body: bytes, _max_texts: int) -> tuple[DecodedRequest, str]:
    return _question([utf8(body)], lambda _: "", [_DEFAULTS], str), JSON


_DEFAULTS = SageMakerParameters()
_READERS: dict[str, Callable[[bytes, int], tuple[DecodedRequest, str]]] = {
    JSON: _read_json,
    LINES: _read_lines,
    CSV: _read_csv,
    TEXT: _read_text,
}
"""Readers by content type. They return the request, and the default media type of its response."""


def _question(
    texts: list[str],
    place: Callable[[int], str],
    parameters: Sequence[SageMakerParameters],
    parameters_place: Callable[[int], str],
) -> DecodedRequest:
    """Return the decoded request of texts with parameters for each text."""
    return DecodedRequest(
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


def _encode(question: DecodedRequest, answer: PredictionBatch, _request_id: str) -> EncodedResponse:
    refuse_truncated(question, answer)
    rows = [
        predictions(answer.model, scored, count)
        for scored, count in zip(answer.results, question.options["labels"], strict=True)
    ]
    if question.options["media_type"] == CSV:
        return EncodedResponse(_to_csv(rows), CSV)
    values = [
        row[0] if count == 1 else row for row, count in zip(rows, question.options["labels"], strict=True)
    ]
    if question.options["media_type"] == LINES:
        return EncodedResponse(b"".join(to_json(value).content + b"\n" for value in values), LINES)
    return to_json(values)


def _to_csv(rows: Sequence[Sequence[Json]]) -> bytes:
    """Return CSV without a header: one row per text with label and score, repeated for several labels."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerows([value for each in row for value in (each["label"], each["score"])] for row in rows)
    return output.getvalue().encode()


SAGEMAKER = Protocol(_decode, _encode)
