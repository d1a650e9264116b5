"""Error responses: RFC 9457 problem documents, and request ids."""

from __future__ import annotations

import math
import re
import uuid

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from serve_app.errors import (
    KeyRateExceededError,
    NotFoundError,
    QueueFullError,
    ServiceError,
    SlowUploadError,
    UnauthorizedError,
    excerpt,
)

_MEDIA_TYPE = "application/problem+json"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(headers: Headers) -> str:
    """Return the X-Request-ID header if it is at most 128 printable ASCII characters, otherwise a new id."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def set_request_id(scope: Scope) -> None:
    """Set X-Request-ID in the request's headers to exactly one value: the one of `request_id_of`.

    Serve copies the header to its response and its log without a check, and fails if it is not UTF-8. Setting
    it before Serve gives a request one id in header, body and log.
    """
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) != 1 or not _REQUEST_ID.fullmatch(given[0].decode("latin-1")):
        request_id = request_id_of(Headers(scope=scope))
        others = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
        scope["headers"] = [*others, (b"x-request-id", request_id.encode())]


def problem(error: ServiceError, request_id: str) -> Response:
    """Return the response to a request that ended with this error.

    The member `error` repeats `detail`: clients of Open Inference Protocol v2 and of
    text-embeddings-inference read it.
    """
    body = {
        "type": f"urn:sentiment-service:{error.type}",
        "title": error.title,
        "status": error.status,
        "detail": str(error),
        "error": str(error),
        "request_id": request_id,
        **error.members,
    }
    headers = {}
    if isinstance(error, QueueFullError):
        # The header has a resolution of 1 s; from 1 s on, rounding changes the value by at most a third.
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, KeyRateExceededError):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, SlowUploadError):
        headers["connection"] = "close"  # the rest of the body is not read
    if isinstance(error, UnauthorizedError):
        headers["www-authenticate"] = error.challenge
    return JSONResponse(body, error.status, headers, media_type=_MEDIA_TYPE)


async def refuse_route(request: Request, error: Exception) -> Response:
    """Return the response to a request whose path or method has no route."""
    assert isinstance(error, HTTPException)
    request_id = request.state.id
    operation = excerpt(f"{request.method} {request.url.path}")
    refusal = NotFoundError(f"{operation} has no route; see /docs for the available routes")
    if error.status_code == 404:
        return problem(refusal, request_id)
    body = {
        "type": "about:blank",
        "title": error.detail,
        "status": error.status_code,
        "detail": str(refusal),
        "error": str(refusal),
        "request_id": request_id,
    }
    return JSONResponse(body, error.status_code, error.headers, media_type=_MEDIA_TYPE)
