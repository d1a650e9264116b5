"""The media type of an answer, from the request's Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from serve_app.errors import NotAcceptable

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def choose(headers: Mapping[str, str], offers: Sequence[str]) -> str:
    """Return the media type that the request prefers among those that the route answers.

    Args:
        headers: of the request, by lower-case name; no Accept, or an empty one, accepts
            every media type.
        offers: in the route's order of preference, which decides between equal weights.

    Raises:
        NotAcceptable: the request accepts none of them.
    """
    accept = headers.get("accept", "").strip() or "*/*"
    weights = dict(map(_weighted, accept.split(",")))
    best = max(offers, key=lambda offer: _weight(offer, weights))  # the first one of equals
    if _weight(best, weights) == 0:
        raise NotAcceptable(f"Accept: {accept[:64]!r}; accept one of {', '.join(offers)}")
    return best


def _weight(offer: str, weights: Mapping[str, float]) -> float:
    """The weight of the most specific range that the media type is in."""
    for media_range in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if media_range in weights:
            return weights[media_range]
    return 0.0


def _weighted(item: str) -> tuple[str, float]:
    """A media range of the header and its weight; a weight that is not one counts as 1."""
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    given = next((value[2:] for value in parameters if value.startswith("q=")), "1")
    return media_range, float(given) if _WEIGHT.fullmatch(given) else 1.0
