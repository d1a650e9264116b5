"""Common parts of the protocols: the decoded request, and the validation of JSON bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from serve_app.errors import (
    BadJsonError,
    FieldError,
    InvalidRequestError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
    excerpt,
    shortened,
)
from serve_app.interface import LiveModel, Prediction, PredictionBatch

Json = Any
Schema = TypeVar("Schema", bound=BaseModel)

MAX_JSON_VALUES = 10_000
"""Maximum number of values (items and objects) in a JSON body. pydantic holds the interpreter lock while it
parses: on one core of a Xeon 1 MiB of `[],` took 0.5 s and 200 MB, 10,000 wrong items took 6 ms."""
_MAX_FAULTS = 100
"""Maximum number of faults from which the reported ones are selected; a union has several faults per
value."""
_MAX_FAULTS_CHARS = 32_000
_MAX_KEY_CHARS = 64
_BACKSLASH = rb"\\"
"""An escaped backslash."""
_HEX = rb"[0-9a-fA-F]"
_LONE_SURROGATE = re.compile(  # begins with a literal, so that the search is fast
    rb"\\u(?:[dD][89abAB]%b{2}(?!\\u[dD][c-fC-F]%b{2})|(?<!\\u[dD][89abAB]%b{2}\\u)[dD][c-fC-F]%b{2})"
    % ((_HEX,) * 4)
)


@dataclass(frozen=True, slots=True)
class DecodedRequest:
    """Decoded request.

    Attributes:
        texts: Texts in the order of the body.
        place: Returns the JSON pointer of the text with an index, for errors.
        options: Further data for `encode`.
        segment: Segment for the prediction log: one for all texts, or one per text.
        cut: Whether texts over the limit of characters are truncated instead of rejected: for all texts, or
            per text.
        model: Name of the model in the body, or None. It must be the name of the live model.
        activations: Requested activation functions, each with its JSON pointer.
    """

    texts: list[str]
    place: Callable[[int], str]
    options: dict[str, Any] = field(default_factory=dict)
    segment: str | Sequence[str | None] | None = None
    cut: bool | Sequence[bool] = False
    model: str | None = None
    activations: Mapping[str, str] = field(default_factory=dict)

    def is_cut(self, index: int) -> bool:
        """Return whether the text with that index is truncated at the limit of characters."""
        return self.cut if isinstance(self.cut, bool) else self.cut[index]


class EncodedResponse(NamedTuple):
    """Response body with its media type, and headers that the protocol adds."""

    content: bytes
    media_type: str
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Protocol:
    """Inference protocol.

    Attributes:
        decode: Decodes (body, request headers by lower-case name, maximum number of texts). It may run in any
            thread. Raises BadJsonError, InvalidRequestError, NotAcceptableError, PayloadTooLargeError or
            UnsupportedMediaTypeError.
        encode: Encodes (decoded request, predictions, request id) as a response.
    """

    decode: Callable[[bytes, Mapping[str, str], int], DecodedRequest]
    encode: Callable[[DecodedRequest, PredictionBatch, str], EncodedResponse]


def media_type(headers: Mapping[str, str]) -> str:
    """Return the content type of a request without parameters; empty if it has none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def too_many(max_texts: int, found: str) -> PayloadTooLargeError:
    """Return the error for a request with too many texts."""
    return PayloadTooLargeError(f"{found} texts; expected at most {max_texts} per request; split the request")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_json(body: Json) -> EncodedResponse:
    """Return a response in JSON."""
    return EncodedResponse(_ENCODER.encode(body).encode(), "application/json")


def read(schema: type[Schema], body: bytes) -> Schema:
    r"""Parse and validate a JSON body, in time and memory that are linear in its size.

    A lone surrogate (`"\ud800"`: half of a character, as in a text that was truncated within an emoji) is
    replaced by U+FFFD, as in browsers; the rest of the body is not changed.

    Raises:
        BadJsonError: The body is not JSON.
        PayloadTooLargeError: The body has more than `MAX_JSON_VALUES` values.
        InvalidRequestError: The body is JSON of another shape; the error lists each fault with its location.
    """
    check_values(body)
    try:
        return _validate(schema, body)
    except BadJsonError:
        repaired = _without_lone_surrogates(body)
        if repaired is None:
            raise
    return _validate(schema, repaired)


def check_values(body: bytes) -> None:
    """Raise PayloadTooLargeError for JSON with more than `MAX_JSON_VALUES` values, without parsing it."""
    if len(body) > 2 * MAX_JSON_VALUES and _count_values(body) > MAX_JSON_VALUES:
        raise PayloadTooLargeError(
            f"the body has more than {MAX_JSON_VALUES} JSON values; send fewer texts per request"
        )


def invalid(faults: Sequence[FieldError], omitted: int = 0) -> InvalidRequestError:
    """Return the error for faults in a body, with the first in its message; `omitted` more are not listed."""
    first = faults[0]
    return InvalidRequestError(f"{first['field'] or 'the body'}: {first['message']}", faults, omitted)


def expect_json(given: str) -> None:
    """Raise UnsupportedMediaTypeError for a media type other than JSON's."""
    if given not in ("application/json", ""):
        raise UnsupportedMediaTypeError(
            f"content type {excerpt(given)} is not supported; send application/json"
        )


def utf8(body: bytes) -> str:
    """Decode a body. Raises InvalidRequestError if it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        message = f"expected UTF-8 text; byte {error.start} is not valid"
        raise invalid([{"field": "", "message": message}]) from None


def ranked(labels: Sequence[str], scored: Prediction) -> list[tuple[str, float]]:
    """Return (label, score) pairs, best first; equal scores in the order of the labels."""
    return sorted(zip(labels, scored.scores, strict=True), key=lambda pair: -pair[1])


def predictions(model: LiveModel, scored: Prediction, top_k: int | None = None) -> list[Json]:
    """Return `{"score", "label"}` of the `top_k` best labels, best first, as Hugging Face's servers do.

    A NEUTRAL answer comes before the labels of the model, with the score of the best of them.
    """
    score, label = max(scored.scores), model.answer_label(scored.scores)
    first = {"score": score, "label": label}
    if top_k == 1:
        return [first]
    rest = [{"score": score, "label": label} for label, score in ranked(model.labels, scored)]
    return (rest if label in model.labels else [first, *rest])[:top_k]


def refuse_truncated(question: DecodedRequest, answer: PredictionBatch) -> None:
    """Raise PayloadTooLargeError if a text whose index is in `options["whole"]` was truncated."""
    for index in question.options["whole"]:
        if answer.results[index].truncated:
            raise PayloadTooLargeError(
                f"{question.place(index)} has more than {answer.model.max_length} tokens and must not be "
                "truncated; shorten the text, or allow truncation"
            )


def _count_values(body: bytes) -> int:
    """Count the items, members and containers of a JSON body by the characters outside its strings.

    The count is exact within a factor of two for JSON, and up to the first fault of other bodies.
    """
    # Without escaped backslashes and quotes, each quote begins or ends a string.
    bare = body.replace(_BACKSLASH, b"").replace(b'\\"', b"")
    quotes = bare.count(b'"')
    if quotes > 4 * MAX_JSON_VALUES:  # a value has at most two strings: its key and itself
        return MAX_JSON_VALUES + 1
    outside = b"".join(bare.split(b'"')[::2])
    return sum(map(outside.count, (b",", b"[", b"{")))


def _without_lone_surrogates(body: bytes) -> bytes | None:
    """Replace each escape of a lone surrogate by U+FFFD; return None if there is none."""
    # Without escaped backslashes, each backslash begins an escape. JSON never has a NUL byte.
    bare = body.replace(_BACKSLASH, b"\0")
    if b"\0" in body or not _LONE_SURROGATE.search(bare):
        return None
    repaired = bytearray(bare)  # written in place: `sub` would take 14 times the memory of the body
    for found in _LONE_SURROGATE.finditer(bare):
        repaired[found.start() : found.end()] = rb"\ufffd"
    return bytes(repaired.replace(b"\0", _BACKSLASH))


def _validate(schema: type[Schema], body: bytes) -> Schema:
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        faults = _first_faults(error)
        if faults[0]["type"] == "json_invalid":
            raise BadJsonError(f"the body is not JSON: {faults[0]['msg']}") from None
        deepest = _deepest([(_pointer(fault["loc"]), fault["msg"]) for fault in faults])
        raise invalid(deepest, error.error_count() - len(faults)) from None


def _first_faults(error: ValidationError) -> list[ErrorDetails]:
    """Return at most the first 100 faults."""
    count = error.error_count()
    if count > _MAX_FAULTS:
        # Thousands of faults cost several times less as one string than as objects.
        start = error.json(include_url=False, include_context=False, include_input=False, indent=None)
        complete: list[ErrorDetails] = from_json(start[:_MAX_FAULTS_CHARS], allow_partial=True)[:-1]
        if complete:
            return complete[:_MAX_FAULTS]
    return error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_FAULTS]


def _deepest(faults: Sequence[tuple[str, str]]) -> list[FieldError]:
    """Merge the faults by location. A union has faults of each branch: keep the deepest ones."""
    messages: dict[str, dict[str, None]] = {}
    outer: set[str] = set()
    for place, message in faults:
        messages.setdefault(place, {})[message] = None
        while place:
            place = place.rpartition("/")[0]
            outer.add(place)
    return [
        FieldError(field=place, message=" or ".join(texts))
        for place, texts in messages.items()
        if place not in outer
    ]


def _pointer(location: Sequence[int | str]) -> str:
    """Return the JSON pointer (RFC 6901) of a pydantic location, without the names of union branches."""
    steps = [step for step in location if isinstance(step, int) or not _names_a_branch(step)]
    return "".join(
        "/" + shortened(str(step), _MAX_KEY_CHARS).replace("~", "~0").replace("/", "~1") for step in steps
    )


def _names_a_branch(step: str) -> bool:
    return step in {"str", "bytes"} or "[" in step
