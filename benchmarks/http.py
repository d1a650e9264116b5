"""Minimal HTTP/1.1 client for one kind of request: the load uses little of the machine that it shares."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Response with its unparsed head and its body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """Return the status code."""
        return int(self.head[9:12])

    def header(self, name: str) -> str:
        """Return the value of a header, given in lower case; empty if it is absent."""
        _, _, after = self.head.lower().partition(f"\r\n{name}:".encode())
        return after.partition(b"\r\n")[0].strip().decode()

    def json(self) -> Any:
        """Parse the body as JSON."""
        return json.loads(self.body)


class Connection:
    """Keep-alive connection for one request at a time; it reconnects after the server closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._wire: _Wire | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def classify(self, text: str) -> HttpResponse:
        """Send one text with POST."""
        return await self._ask(_question(self._host, text))

    async def classify_many(self, texts: Sequence[str], *, priority: str = "") -> HttpResponse:
        """Send several texts in one POST request, with an optional priority."""
        header = f"x-request-priority: {priority}\r\n" if priority else ""
        return await self._ask(_request(self._host, json.dumps({"inputs": list(texts)}).encode(), header))

    async def post(self, path: str, body: bytes) -> HttpResponse:
        """Send a JSON body to a path with POST."""
        return await self._ask(_request(self._host, body, path=path))

    async def get(self, path: str) -> HttpResponse:
        """Send a GET request for a path."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nhost: {self._host}\r\n\r\n".encode())

    async def _ask(self, request: bytes) -> HttpResponse:
        if self._wire is None or not self._wire.open:
            loop = asyncio.get_running_loop()
            _, self._wire = await loop.create_connection(_Wire, self._host, self._port)
        answer = await self._wire.ask(request)
        if answer.header("connection") == "close":
            self.close()
        return answer


class _Wire(asyncio.Protocol):
    """Open connection that sends a request and returns its answer when it is complete."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[HttpResponse] = asyncio.get_running_loop().create_future()
        self._received = b""
        self._transport: asyncio.Transport

    @property
    def open(self) -> bool:
        return not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> asyncio.Future[HttpResponse]:
        self._answer, self._received = asyncio.get_running_loop().create_future(), b""
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        answer = HttpResponse(head, body)
        if ended and len(body) >= int(answer.header("content-length") or 0) and not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("closed before the answer was complete"))

    def close(self) -> None:
        self._transport.close()


@functools.cache
def _question(host: str, text: str) -> bytes:
    return _request(host, json.dumps({"inputs": text}).encode())


def _request(host: str, body: bytes, header: str = "", path: str = "/v1/classify") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{header}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
