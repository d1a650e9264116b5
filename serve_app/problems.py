"""Errors as the caller gets them: problem documents, RFC 9457."""

from __future__ import annotations

import re
import uuid

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from serve_app.errors import NotFound, QueueFull, ServiceError, SlowUpload, excerpt

_MEDIA_TYPE = "application/problem+json"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(headers: Headers) -> str:
    """The caller's X-Request-ID if it is printable ASCII, 128 characters at most, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def name_request(scope: Scope) -> None:
    """Leave exactly one X-Request-ID in the request's headers: the one of `request_id_of`.

    Serve answers with the header of the request and writes it to its log, whatever it holds, and fails on one
    that is not UTF-8. Named in front of Serve, a request has one id in header, body and log.
    """
    given = [value for name, value in scope["headers"] if name == b"x-request-id"]
    if len(given) != 1 or not _REQUEST_ID.fullmatch(given[0].decode("latin-1")):
        request_id = request_id_of(Headers(scope=scope))
        others = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
        scope["headers"] = [*others, (b"x-request-id", request_id.encode())]


def problem(error: ServiceError, request_id: str) -> Response:
    """The answer to a request that ended with this error.

    `error` repeats `detail`: it is the member that the clients of Open Inference Protocol v2 and of
    text-embeddings-inference read.
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
    if isinstance(error, QueueFull):
        # Whole seconds are all the header can say; the nearest is right within a third from 1 s on.
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, SlowUpload):
        headers["connection"] = "close"  # what is left of the body is not waited for
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body, error.status, headers, media_type=_MEDIA_TYPE)


async def refuse_route(request: Request, error: Exception) -> Response:
    """A path or a method that is not served."""
    assert isinstance(error, HTTPException)
    request_id = request_id_of(request.headers)
    asked = excerpt(f"{request.method} {request.url.path}")
    refusal = NotFound(f"{asked} is not served; see /docs for what is")
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
