"""Who may ask what: where API keys are set, every route needs one, except those named here."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from serve_app.errors import KeyRateExceeded, Unauthorized
from serve_app.keys import KeyRing
from serve_app.settings import Settings

_OPEN_ROUTES = frozenset({"/", "/health", "/ping", "/v2/health/live", "/v2/health/ready"})
"""Open to GET and HEAD without a key: the page, and health for those who have no key. None names a model."""

_OPEN_FOLDERS = ("/web/", "/docs-assets/")
"""Open likewise: the static files of the page and of the documentation."""

_BROWSED_ROUTES = frozenset({"/docs", "/openapi.json"})
"""A browser that follows a link cannot send the key's headers: here the key may be the password of HTTP
Basic, which the browser asks for. Elsewhere it may not: another site could make a browser send requests with
it."""

_BASIC = 'Basic realm="Password: an API key. The user name does not matter", charset="UTF-8"'
_BURST_S = 10.0
"""A key that was quiet may ask for so many seconds' worth of requests at once."""


def is_open(method: str, path: str) -> bool:
    """Whether a request needs no key where keys are set."""
    return method in ("GET", "HEAD") and (path in _OPEN_ROUTES or path.startswith(_OPEN_FOLDERS))


class Gate:
    """The check of every request before its route: a valid key, and the key's rate.

    Args:
        settings: with the keys, and the requests a minute of each.
        clock: seconds, monotonic.

    Raises:
        SettingsError: the keys cannot be read.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = KeyRing(settings, clock=clock)
        self._per_minute = settings.key_requests_per_minute
        self._buckets: dict[str, _Bucket] = {}
        self._clock = clock

    @property
    def needs_key(self) -> bool:
        """Whether keys are set."""
        return bool(self._keys)

    def identify(self, scope: Scope) -> str:
        """The id of a request's key; "" where none is needed.

        Raises:
            Unauthorized: the request has no key, or one that is not valid.
        """
        if not self._keys:
            return ""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if is_open(scope["method"], path):
            return ""
        browsed = path in _BROWSED_ROUTES
        given = _given_key(Headers(scope=scope), basic=browsed)
        key_id = self._keys.find(given) if given else None
        if key_id is not None:
            return key_id
        said = "the API key is not known; check it, or ask the operator for one"
        if not given:
            said = "no API key; send Authorization: Bearer KEY or X-API-Key: KEY"
        raise Unauthorized(said, _BASIC if browsed else "Bearer")

    def admit(self, scope: Scope) -> str:
        """`identify`, and count the request against its key's rate.

        Raises:
            Unauthorized: as of `identify`.
            KeyRateExceeded: the key has no request left now.
        """
        key_id = self.identify(scope)
        if key_id and self._per_minute is not None:
            self._take(key_id, self._per_minute)
        return key_id

    def _take(self, key_id: str, per_minute: int) -> None:
        """Take one request from the key's bucket, which fills at its rate."""
        now, rate_per_s = self._clock(), per_minute / 60
        size = max(1.0, rate_per_s * _BURST_S)
        bucket = self._buckets.setdefault(key_id, _Bucket(size, now))
        bucket.requests = min(size, bucket.requests + rate_per_s * (now - bucket.filled_at))
        bucket.filled_at = now
        if bucket.requests < 1:
            wait_s = (1 - bucket.requests) / rate_per_s
            raise KeyRateExceeded(
                f"this API key may ask {per_minute} times a minute of a replica "
                f"(SENTIMENT_KEY_REQUESTS_PER_MINUTE); come again in {wait_s:.1f} s",
                wait_s,
            )
        bucket.requests -= 1


@dataclass(slots=True)
class _Bucket:
    """A token bucket: the requests that a key has left, as of a time."""

    requests: float
    filled_at: float


def _given_key(headers: Headers, *, basic: bool) -> str:
    """The key that a request bears; "" if none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-api-key", "")
