"""What every protocol is made of: the question a body asked, and the reading of bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from serve_app.errors import BadJson, FieldError, Invalid, TooLarge, UnsupportedMedia
from serve_app.service import Classified, Scored

Json = Any
Schema = TypeVar("Schema", bound=BaseModel)


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
    """Read a JSON body by its schema.

    Raises:
        BadJson: it is not JSON.
        Invalid: it is JSON of another shape; each fault with its place.
    """
    try:
        return schema.model_validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise BadJson(f"the body is not JSON: {faults[0]['msg']}") from None
        raise invalid(_deepest((_pointer(fault["loc"]), fault["msg"]) for fault in faults)) from None


def invalid(faults: Sequence[FieldError]) -> Invalid:
    """The error for faults in a body, the first of them in its message."""
    first = faults[0]
    return Invalid(f"{first['field'] or 'the body'}: {first['message']}", faults)


def expect_json(given: str) -> None:
    """Raise UnsupportedMedia for a body whose media type is not JSON's."""
    if given not in ("application/json", ""):
        raise UnsupportedMedia(f"content type {given[:64]!r}; send application/json")


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


def _deepest(faults: Iterable[tuple[str, str]]) -> list[FieldError]:
    """One fault a place. A union reports each of its branches: the one that got furthest was meant."""
    messages: dict[str, list[str]] = {}
    for place, message in faults:
        messages.setdefault(place, []).append(message)
    return [
        FieldError(field=place, message=" or ".join(said))
        for place, said in messages.items()
        if not any(other.startswith(f"{place}/") for other in messages)
    ]


def _pointer(location: Sequence[int | str]) -> str:
    """JSON pointer (RFC 6901) of a pydantic location; a union's branch names are not part of the path."""
    steps = [step for step in location if isinstance(step, int) or not _names_a_branch(step)]
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _names_a_branch(step: str) -> bool:
    return step in {"str", "bytes"} or "[" in step
