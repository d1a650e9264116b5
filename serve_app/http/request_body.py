"""Request body reader: bounded in bytes and time; decompresses, and removes a byte order mark."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request

from serve_app.errors import (
    BadEncodingError,
    ClientDisconnectedError,
    PayloadTooLargeError,
    SlowUploadError,
    UnsupportedMediaTypeError,
    excerpt,
)

Args = ParamSpec("Args")
Result = TypeVar("Result")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INLINE_BYTES = 16 << 10
"""Maximum size of bodies that are decoded in the event loop, where switching to a thread would cost more."""
_MIN_UPLOAD_S = 0.1
"""Minimum time for an upload: a body that has arrived but waits for a busy event loop is not late."""
_GZIP, _ZLIB, _RAW_DEFLATE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW_DEFLATE)}
"""zlib's `wbits` values to try for each content coding (RFC 9110, 8.4.1). Some clients send `deflate` without
the zlib header that the coding requires."""


class BodyReader:
    """Reads bodies, and decodes large ones in one worker thread, so that the event loop is not blocked.

    Args:
        max_bytes: Maximum size of a body, both as sent and decompressed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")

    async def read(self, request: Request, *, deadline: float) -> bytes:
        """Return the decompressed body.

        Args:
            request: A request whose body has not been read.
            deadline: Deadline of the upload on the clock of `time.monotonic`; the upload always has 0.1 s.

        Raises:
            PayloadTooLargeError: The body is over the limit; the rest is not read.
            UnsupportedMediaTypeError: The content encoding is not gzip or deflate.
            BadEncodingError: The body cannot be decompressed.
            SlowUploadError: The deadline passed during the upload.
            ClientDisconnectedError: The client disconnected during the upload.
        """
        encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding != "identity" and encoding not in _FORMATS:
            raise UnsupportedMediaTypeError(
                f"content encoding {excerpt(encoding)} is not supported; send gzip, deflate or no compression"
            )
        try:
            async with asyncio.timeout(max(_MIN_UPLOAD_S, deadline - time.monotonic())):
                body = await self._receive(request)
        except TimeoutError:
            raise SlowUploadError(
                "the upload was not complete at the deadline; send it faster, or raise X-Request-Timeout-Ms"
            ) from None
        except ClientDisconnect:
            raise ClientDisconnectedError(
                "the client closed the connection before it had sent its body"
            ) from None
        if encoding != "identity":
            body = await self._in_worker(_decompressed, body, _FORMATS[encoding], self._max_bytes)
        return body.removeprefix(_BYTE_ORDER_MARK)

    async def run(
        self, size: int, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs
    ) -> Result:
        """Return the result of `work`, called in the worker thread if `size` (bytes) is large."""
        if size <= _INLINE_BYTES:
            return work(*args, **kwargs)
        return await self._in_worker(work, *args, **kwargs)

    async def _in_worker(
        self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs
    ) -> Result:
        return await asyncio.wrap_future(self._worker.submit(work, *args, **kwargs))

    async def _receive(self, request: Request) -> bytes:
        """Return the body as sent; stop reading at the limit."""
        if (declared_bytes(request.headers) or 0) > self._max_bytes:
            raise _over(self._max_bytes)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise _over(self._max_bytes)
        return bytes(body)


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the value of Content-Length, or None if it is missing or invalid."""
    declared = headers.get("content-length", "")
    # int() takes quadratic time in the number of digits; no size has more than 18.
    return int(declared[:18]) if declared.isdecimal() else None


def _decompressed(body: bytes, formats: tuple[int, ...], max_bytes: int) -> bytes:
    """Decompress a body with the first format that fits; stop one byte above the limit."""
    for wbits in formats:
        stream = zlib.decompressobj(wbits)
        try:
            content = stream.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(content) > max_bytes:
            raise _over(max_bytes)
        if not stream.eof:
            raise BadEncodingError("the compressed body is incomplete; send all of it")
        if stream.unused_data:
            raise BadEncodingError("the body has data after its compressed stream; send one stream")
        return content
    raise BadEncodingError("the body cannot be decompressed; compress it with the format of Content-Encoding")


def _over(max_bytes: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"the body is over {max_bytes} bytes; send fewer or shorter texts")
