"""Reading of request bodies: bounded in bytes and in time, decompressed, without a byte order mark."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request

from serve_app.errors import BadEncoding, ClientGone, SlowUpload, TooLarge, UnsupportedMedia, excerpt

Args = ParamSpec("Args")
Result = TypeVar("Result")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_INLINE_BYTES = 16 << 10
"""Bodies up to this size are decoded in the event loop: a thread costs more than it saves."""
_MIN_UPLOAD_S = 0.1
"""What an upload always has: a body that has arrived and waits for a busy event loop is not slow."""
_GZIP, _ZLIB, _RAW_DEFLATE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_FORMATS = {"gzip": (_GZIP,), "x-gzip": (_GZIP,), "deflate": (_ZLIB, _RAW_DEFLATE)}
"""Formats (`wbits` of zlib) of each content coding (RFC 9110, 8.4.1). Some clients send `deflate` without the
zlib header that it should have."""


class BodyReader:
    """Reads bodies, and decodes what is large in one worker thread, so that the event loop stays free.

    Args:
        max_bytes: of a body, both as sent and decompressed.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bodies")

    async def read(self, request: Request, *, deadline: float) -> bytes:
        """Return the body, decompressed.

        Args:
            request: its body is not read yet.
            deadline: for the entire upload, which has 0.1 s in any case; on `time.monotonic`'s clock.

        Raises:
            TooLarge: it is over the limit; it is read no further.
            UnsupportedMedia: it has another content encoding than gzip or deflate.
            BadEncoding: it does not decompress.
            SlowUpload: the deadline passed before it had arrived.
            ClientGone: the client left before it had arrived.
        """
        encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if encoding != "identity" and encoding not in _FORMATS:
            raise UnsupportedMedia(
                f"content encoding {excerpt(encoding)}; send gzip, deflate or an uncompressed body"
            )
        try:
            async with asyncio.timeout(max(_MIN_UPLOAD_S, deadline - time.monotonic())):
                body = await self._receive(request)
        except TimeoutError:
            raise SlowUpload(
                "the body had not arrived at the deadline; send it faster, or raise X-Request-Timeout-Ms"
            ) from None
        except ClientDisconnect:
            raise ClientGone("the client closed the connection before it had sent its body") from None
        if encoding != "identity":
            body = await self._in_worker(_decompressed, body, _FORMATS[encoding], self._max_bytes)
        return body.removeprefix(_BYTE_ORDER_MARK)

    async def run(
        self, size: int, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs
    ) -> Result:
        """Call `work`: at once for a small `size` (bytes), else in the worker thread; return its result."""
        if size <= _INLINE_BYTES:
            return work(*args, **kwargs)
        return await self._in_worker(work, *args, **kwargs)

    async def _in_worker(
        self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs
    ) -> Result:
        return await asyncio.wrap_future(self._worker.submit(work, *args, **kwargs))

    async def _receive(self, request: Request) -> bytes:
        """The body as it was sent, read no further than the limit."""
        if (declared_bytes(request.headers) or 0) > self._max_bytes:
            raise _over(self._max_bytes)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise _over(self._max_bytes)
        return bytes(body)


def declared_bytes(headers: Mapping[str, str]) -> int | None:
    """Return the size that Content-Length names, or None without a valid one."""
    declared = headers.get("content-length", "")
    # Converting takes time that is quadratic in the digits; no body has a size of more than 18.
    return int(declared[:18]) if declared.isdecimal() else None


def _decompressed(body: bytes, formats: tuple[int, ...], max_bytes: int) -> bytes:
    """Decompress a body, of the first of these formats that it has; at most one byte beyond the limit."""
    for wbits in formats:
        stream = zlib.decompressobj(wbits)
        try:
            content = stream.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(content) > max_bytes:
            raise _over(max_bytes)
        if not stream.eof:
            raise BadEncoding("the compressed body ends too early; send all of it")
        if stream.unused_data:
            raise BadEncoding("the body goes on after its compressed stream; send one stream")
        return content
    raise BadEncoding("the body does not decompress; send it compressed as Content-Encoding says")


def _over(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body is over {max_bytes} bytes; send fewer or shorter texts")
