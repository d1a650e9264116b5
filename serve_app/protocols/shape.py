"""What every protocol is made of: the question a body asked, and the reading of bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from serve_app.errors import BadJson, FieldError, Invalid, TooLarge, UnsupportedMedia, excerpt, shortened
from serve_app.service import Classified, Scored

Json = Any
Schema = TypeVar("Schema", bound=BaseModel)

MAX_JSON_VALUES = 10_000
"""Most values (items and objects) of a JSON body. pydantic holds the interpreter while it parses: on one core
of a Xeon 1 MiB of `[],` took 0.5 s and 200 MB, 10,000 wrong items 6 ms."""
_MAX_FAULTS = 100
"""Faults of which those to report are chosen; a union reports several of one value."""
_MAX_FAULTS_CHARS = 32_000
_MAX_KEY_CHARS = 64
_BACKSLASH = rb"\\"
"""An escaped backslash."""
_HEX = rb"[0-9a-fA-F]"
_LONE_SURROGATE = re.compile(  # begins with a literal, for which a search is fast
    rb"\\u(?:[dD][89abAB]%b{2}(?!\\u[dD][c-fC-F]%b{2})|(?<!\\u[dD][89abAB]%b{2}\\u)[dD][c-fC-F]%b{2})"
    % ((_HEX,) * 4)
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a body asked.

    Attributes:
        texts: in the order of the body.
        place: JSON pointer of the text with that index, for errors.
        options: what `encode` needs to know besides.
        segment: what the texts belong to, for the log; one for all, or one a text.
        cut: whether a text over the limit of characters is cut there instead of refused; for all, or one
            a text.
        model: name that the body gives the model, or None. Another one than the live model's is not found.
        activations: functions that the body asks to make the scores with, each with its JSON pointer.
    """

    texts: list[str]
    place: Callable[[int], str]
    options: dict[str, Any] = field(default_factory=dict)
    segment: str | Sequence[str | None] | None = None
    cut: bool | Sequence[bool] = False
    model: str | None = None
    activations: Mapping[str, str] = field(default_factory=dict)

    def is_cut(self, index: int) -> bool:
        """Whether the text with that index is cut at the limit of characters."""
        return self.cut if isinstance(self.cut, bool) else self.cut[index]


class Encoded(NamedTuple):
    """The answer's body, its media type, and headers that the protocol adds."""

    content: bytes
    media_type: str
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to ask and to answer.

    Attributes:
        decode: (body, request headers by lower-case name, maximum number of texts) to the question. It may
            run in any thread. Raises BadJson, Invalid, NotAcceptable, TooLarge or UnsupportedMedia.
        encode: (question, answer, request id) to the answer.
    """

    decode: Callable[[bytes, Mapping[str, str], int], Question]
    encode: Callable[[Question, Classified, str], Encoded]


def media_type(headers: Mapping[str, str]) -> str:
    """The content type of a request without its parameters; empty if it names none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def too_many(max_texts: int, found: str) -> TooLarge:
    """The error for a request with too many texts."""
    return TooLarge(f"{found} texts, a request may hold {max_texts}; send several")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def to_json(body: Json) -> Encoded:
    """An answer in JSON."""
    return Encoded(_ENCODER.encode(body).encode(), "application/json")


def read(schema: type[Schema], body: bytes) -> Schema:
    r"""Read a JSON body by its schema, in time and memory that are linear in its size.

    A lone surrogate (`"\ud800"`: half of a character, where a text was cut in the middle of an emoji) is read
    as U+FFFD, as browsers do; no other part of the body is affected.

    Raises:
        BadJson: it is not JSON.
        TooLarge: it has more than `MAX_JSON_VALUES` values.
        Invalid: it is JSON of another shape; each fault with its place.
    """
    check_values(body)
    try:
        return _validate(schema, body)
    except BadJson:
        repaired = _without_lone_surrogates(body)
        if repaired is None:
            raise
    return _validate(schema, repaired)


def check_values(body: bytes) -> None:
    """Raise TooLarge for JSON with more than `MAX_JSON_VALUES` values, without parsing it."""
    if len(body) > 2 * MAX_JSON_VALUES and _count_values(body) > MAX_JSON_VALUES:
        raise TooLarge(f"the body has more than {MAX_JSON_VALUES} JSON values; send fewer texts a request")


def invalid(faults: Sequence[FieldError], omitted: int = 0) -> Invalid:
    """The error for faults in a body, the first of them in its message; `omitted` more are not listed."""
    first = faults[0]
    return Invalid(f"{first['field'] or 'the body'}: {first['message']}", faults, omitted)


def expect_json(given: str) -> None:
    """Raise UnsupportedMedia for a body whose media type is not JSON's."""
    if given not in ("application/json", ""):
        raise UnsupportedMedia(f"content type {excerpt(given)}; send application/json")


def utf8(body: bytes) -> str:
    """A body as text. Raises Invalid where it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise invalid([{"field": "", "message": f"UTF-8 text; byte {error.start} is not"}]) from None


def ranked(labels: Sequence[str], scored: Scored) -> list[tuple[str, float]]:
    """(label, score), best first; of equals, the earlier label."""
    return sorted(zip(labels, scored.scores, strict=True), key=lambda pair: -pair[1])


def predictions(labels: Sequence[str], scored: Scored, top_k: int | None = None) -> list[Json]:
    """`{"score", "label"}` of the `top_k` best labels, best first, as Hugging Face's servers write them."""
    if top_k == 1:
        score = max(scored.scores)
        return [{"score": score, "label": labels[scored.scores.index(score)]}]
    return [{"score": score, "label": label} for label, score in ranked(labels, scored)[:top_k]]


def refuse_truncated(question: Question, answer: Classified) -> None:
    """Raise TooLarge if a text that `options["whole"]` lists by index was not read to its end."""
    for index in question.options["whole"]:
        if answer.results[index].truncated:
            raise TooLarge(
                f"{question.place(index)} has more than {answer.model.max_length} tokens and must not be "
                "truncated; shorten it, or allow truncation"
            )


def _count_values(body: bytes) -> int:
    """Count the items, members and containers of a JSON body, from what is outside its strings.

    Exact within a factor of two for JSON, and up to the first fault of what is not.
    """
    # Without the escapes of backslash and quote, each quote begins or ends a string.
    bare = body.replace(_BACKSLASH, b"").replace(b'\\"', b"")
    quotes = bare.count(b'"')
    if quotes > 4 * MAX_JSON_VALUES:  # a value has at most two strings: its key and itself
        return MAX_JSON_VALUES + 1
    outside = b"".join(bare.split(b'"')[::2])
    return sum(map(outside.count, (b",", b"[", b"{")))


def _without_lone_surrogates(body: bytes) -> bytes | None:
    """The body with U+FFFD for each escape of half a character; None if it has no such escape."""
    # Without the escaped backslashes, each backslash begins an escape. No JSON has a NUL byte.
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
            raise BadJson(f"the body is not JSON: {faults[0]['msg']}") from None
        deepest = _deepest([(_pointer(fault["loc"]), fault["msg"]) for fault in faults])
        raise invalid(deepest, error.error_count() - len(faults)) from None


def _first_faults(error: ValidationError) -> list[ErrorDetails]:
    """At most the first 100 faults."""
    count = error.error_count()
    if count > _MAX_FAULTS:
        # Thousands of faults cost several times less as one string than as objects.
        start = error.json(include_url=False, include_context=False, include_input=False, indent=None)
        whole: list[ErrorDetails] = from_json(start[:_MAX_FAULTS_CHARS], allow_partial=True)[:-1]
        if whole:
            return whole[:_MAX_FAULTS]
    return error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_FAULTS]


def _deepest(faults: Sequence[tuple[str, str]]) -> list[FieldError]:
    """One fault a place. A union reports each of its branches: the one that got furthest was meant."""
    messages: dict[str, dict[str, None]] = {}
    outer: set[str] = set()
    for place, message in faults:
        messages.setdefault(place, {})[message] = None
        while place:
            place = place.rpartition("/")[0]
            outer.add(place)
    return [
        FieldError(field=place, message=" or ".join(said))
        for place, said in messages.items()
        if place not in outer
    ]


def _pointer(location: Sequence[int | str]) -> str:
    """JSON pointer (RFC 6901) of a pydantic location; a union's branch names are not part of the path."""
    steps = [step for step in location if isinstance(step, int) or not _names_a_branch(step)]
    return "".join(
        "/" + shortened(str(step), _MAX_KEY_CHARS).replace("~", "~0").replace("/", "~1") for step in steps
    )


def _names_a_branch(step: str) -> bool:
    return step in {"str", "bytes"} or "[" in step
