"""API keys: who may ask. Off unless keys are set."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from serve_app.errors import Unauthorized


def check_key(headers: Mapping[str, str], keys: Sequence[SecretStr]) -> None:
    """Let a request pass that bears one of the keys, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    Args:
        headers: of the request, looked up in lower case.
        keys: those that are valid; with none, every request passes.

    Raises:
        Unauthorized: no key, or none of these.
    """
    if not keys:
        return
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    given = credentials.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not given:
        raise Unauthorized("no API key; send Authorization: Bearer KEY or X-API-Key: KEY")
    # every key is compared, in constant time, so that the time taken says nothing
    matches = [hmac.compare_digest(given.encode(), key.get_secret_value().encode()) for key in keys]
    if not any(matches):
        raise Unauthorized("the API key is not known; check it, or ask the operator for one")
