"""Content negotiation: the media type of a response by the Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from serve_app.errors import NotAcceptableError

_WEIGHT = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def choose(headers: Mapping[str, str], offers: Sequence[str]) -> str:
    """Return the media type that the request prefers among those that the route supports.

    Args:
        headers: Request headers by lower-case name; a missing or empty Accept header accepts every media
            type.
        offers: Media types of the route in its order of preference, which decides between equal weights.

    Raises:
        NotAcceptableError: The request accepts none of them.
    """
    accept = headers.get("accept", "").strip() or "*/*"
    weights = dict(map(_weighted, accept.split(",")))
    best = max(offers, key=lambda offer: _weight(offer, weights))  # the first one of equals
    if _weight(best, weights) == 0:
        raise NotAcceptableError(
            f"Accept: {accept[:64]!r} is not supported; expected one of {', '.join(offers)}"
        )
    return best


def _weight(offer: str, weights: Mapping[str, float]) -> float:
    """Return the weight of the most specific media range that includes the media type."""
    for media_range in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if media_range in weights:
            return weights[media_range]
    return 0.0


def _weighted(item: str) -> tuple[str, float]:
    """Parse a media range and its weight; an invalid weight counts as 1."""
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    given = next((value[2:] for value in parameters if value.startswith("q=")), "1")
    return media_range, float(given) if _WEIGHT.fullmatch(given) else 1.0
