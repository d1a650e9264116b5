"""API key authentication and per-key rate limits. If keys are configured, only the routes below need none."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import Scope

from serve_app.errors import KeyRateExceededError, UnauthorizedError
from serve_app.http.api_keys import KeyRing
from serve_app.settings import Settings

_OPEN_ROUTES = frozenset({"/", "/health", "/ping", "/v2/health/live", "/v2/health/ready"})
"""Routes whose GET and HEAD need no key: the page, and health checks. Their responses do not name the
model."""

_OPEN_FOLDERS = ("/web/", "/docs-assets/")
"""Folders that need no key either: the static files of the page and of the documentation."""

_BROWSED_ROUTES = frozenset({"/docs", "/openapi.json"})
"""Routes that accept the key as the password of HTTP Basic, since a browser that follows a link cannot send
the other headers. Other routes do not accept it: another site could make a browser send requests with it."""

_BASIC = 'Basic realm="Password: an API key. The user name does not matter", charset="UTF-8"'
_BURST_S = 10.0
"""Burst of a key that was idle: its rate times this number of seconds."""


def is_open(method: str, path: str) -> bool:
    """Return whether a request needs no key even if keys are configured."""
    return method in ("GET", "HEAD") and (path in _OPEN_ROUTES or path.startswith(_OPEN_FOLDERS))


class Gate:
    """Check of every request before its route: a valid key, and the key's request rate.

    Args:
        settings: Settings with the keys and their maximum number of requests per minute.
        clock: Returns monotonic seconds.

    Raises:
        SettingsError: The keys cannot be read.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = KeyRing(settings, clock=clock)
        self._per_minute = settings.key_requests_per_minute
        self._buckets: dict[str, _Bucket] = {}
        self._clock = clock

    @property
    def needs_key(self) -> bool:
        """Whether keys are configured."""
        return bool(self._keys)

    def identify(self, scope: Scope) -> str:
        """Return the id of a request's key, or "" if none is needed.

        Raises:
            UnauthorizedError: The request has no key, or an unknown one.
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
        message = "the API key is not known; check it, or request one from the operator"
        if not given:
            message = "no API key; send Authorization: Bearer KEY or X-API-Key: KEY"
        raise UnauthorizedError(message, _BASIC if browsed else "Bearer")

    def admit(self, scope: Scope) -> str:
        """Identify a request and count it against its key's rate.

        Raises:
            UnauthorizedError: As for `identify`.
            KeyRateExceededError: The key is over its rate.
        """
        key_id = self.identify(scope)
        if key_id and self._per_minute is not None:
            self._take(key_id, self._per_minute)
        return key_id

    def _take(self, key_id: str, per_minute: int) -> None:
        """Take one request from the key's token bucket, which fills at the key's rate."""
        now, rate_per_s = self._clock(), per_minute / 60
        size = max(1.0, rate_per_s * _BURST_S)
        bucket = self._buckets.setdefault(key_id, _Bucket(size, now))
        bucket.requests = min(size, bucket.requests + rate_per_s * (now - bucket.filled_at))
        bucket.filled_at = now
        if bucket.requests < 1:
            wait_s = (1 - bucket.requests) / rate_per_s
            raise KeyRateExceededError(
                f"this API key is over its limit of {per_minute} requests per minute and replica "
                f"(SENTIMENT_KEY_REQUESTS_PER_MINUTE); retry in {wait_s:.1f} s",
                wait_s,
            )
        bucket.requests -= 1


@dataclass(slots=True)
class _Bucket:
    """Token bucket: number of requests that a key had left at a time."""

    requests: float
    filled_at: float


def _given_key(headers: Headers, *, basic: bool) -> str:
    """Return the key that a request sends, or "" if it sends none."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-api-key", "")
