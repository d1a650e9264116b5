"""Hostile clients: bodies that are expensive to process, slow uploads, and connections that vanish."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

import uvloop

_BYTES = 900_000
"""Bytes of a body, below the service's limit of 1 MiB."""
_ANSWER_S = 30.0

Client = Callable[[str, int, Counter[str]], Awaitable[None]]
"""Coroutine function called with the host, the port and the counter of outcomes."""


@dataclass(frozen=True, slots=True)
class WorstCase:
    """Request whose body is designed to cost the service as much as its size allows."""

    name: str
    path: str
    body: bytes
    content_type: str = "application/json"

    def request(self, host: str) -> bytes:
        """Return the bytes that are sent over the connection."""
        head = f"POST {self.path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n"
        head += f"content-type: {self.content_type}\r\ncontent-length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


def worst_cases() -> list[WorstCase]:
    """Return a body for each way in which the work could grow faster than the body."""
    deep = 100_000
    keys = {f"key{number}": number for number in range(60_000)}
    run = "a" * 19_000
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["fine"]}
    outputs = [{"name": "scores"} for _ in range(40_000)]
    infer = "/v2/models/builtin-sentiment/infer"
    return [
        WorstCase("8,000 wrong items", "/v1/classify", _json({"inputs": [1] * 8_000})),
        WorstCase("wrong items", "/v1/classify", _json({"inputs": [1] * (_BYTES // 3)})),
        WorstCase("empty objects", "/v1/classify", _json({"inputs": [{}] * (_BYTES // 4)})),
        WorstCase("deep nesting", "/v1/classify", b'{"inputs":' + b"[" * deep + b"]" * deep + b"}"),
        WorstCase("unknown keys", "/v1/classify", _json({"inputs": "fine", **keys})),
        WorstCase("a long number", "/v1/classify", b'{"inputs":"fine","top_k":' + b"9" * _BYTES + b"}"),
        WorstCase("long runs without spaces", "/v1/classify", _json({"inputs": [run] * 40})),
        WorstCase("many texts", "/predict", _json({"inputs": ["a"] * (_BYTES // 5)})),
        WorstCase("many outputs", infer, _json({"inputs": [tensor], "outputs": outputs})),
        WorstCase("a long data type", infer, _json({"inputs": [{**tensor, "datatype": "x" * _BYTES}]})),
        WorstCase("many lines", "/invocations", b'{"inputs":"a"}\n' * 60_000, "application/jsonlines"),
        WorstCase("an unclosed quote", "/invocations", b'"' + b"a,\n" * (_BYTES // 3), "text/csv"),
    ]


@dataclass
class HostileClients:
    """Coroutines that call the service from a separate thread while the block runs.

    Attributes:
        url: address of the service.
        clients: clients, each called repeatedly with the host, the port and `outcomes`.
        outcomes: counts of outcomes, incremented by the clients.
    """

    url: str
    clients: Sequence[Client]
    outcomes: Counter[str] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="hostile clients", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        assert self._thread is not None
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        host, port = urlsplit(self.url).hostname or "127.0.0.1", urlsplit(self.url).port or 80

        async def repeat(client: Client) -> None:
            while True:
                try:
                    await client(host, port, self.outcomes)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    self.outcomes[type(error).__name__] += 1
                    await asyncio.sleep(0.1)

        tasks = [asyncio.create_task(repeat(client)) for client in self.clients]
        await asyncio.to_thread(self._stopping.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def sends_worst_cases(pause_s: float, offset: int) -> Client:
    """Return a client that sends every worst case in turn, each `pause_s` after the previous answer."""
    cases = worst_cases()
    turn = itertools.cycle(cases[offset % len(cases) :] + cases[: offset % len(cases)])

    async def client(host: str, port: int, outcomes: Counter[str]) -> None:
        case = next(turn)
        began = time.monotonic()
        status, size = await _ask(host, port, case.request(host))
        outcomes[f"{case.name}: {status}"] += 1
        outcomes["slowest_ms"] = max(outcomes["slowest_ms"], round(1000 * (time.monotonic() - began)))
        outcomes["largest_answer_bytes"] = max(outcomes["largest_answer_bytes"], size)
        await asyncio.sleep(pause_s)

    return client


async def trickles(host: str, port: int, outcomes: Counter[str]) -> None:
    """Send a request body at one byte per second until the service answers or closes the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        body = _json({"inputs": "a text that comes slowly " * 20})
        head = f"POST /v1/classify HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
        outcomes["uploads begun"] += 1
        for byte in body:
            writer.write(bytes([byte]))
            await writer.drain()
            with suppress(TimeoutError):
                if await asyncio.wait_for(reader.read(1), 1.0):
                    outcomes["answered before the upload's end"] += 1
                else:
                    outcomes["closed by the service"] += 1
                return
    finally:
        writer.close()


async def stalls_in_the_head(host: str, port: int, outcomes: Counter[str]) -> None:
    """Send half a request head and then nothing."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\nx-half: ")
        outcomes["heads begun"] += 1
        await reader.read(1)
        outcomes["closed by the service"] += 1
    finally:
        writer.close()


def leaves(*, sends: float, pause_s: float) -> Client:
    """Return a client that closes its connection after a fraction of its request; with 1, while it waits."""

    async def client(host: str, port: int, outcomes: Counter[str]) -> None:
        body = _json({"inputs": ["a text whose client does not wait for its answer"] * 4})
        request = WorstCase("leaves", "/v1/classify", body).request(host)
        _, writer = await asyncio.open_connection(host, port)
        writer.write(request[: round(sends * len(request))])
        with suppress(OSError):
            await writer.drain()
        writer.close()
        outcomes[f"left after {100 * sends:.0f} % of the request"] += 1
        await asyncio.sleep(pause_s)

    return client


async def _ask(host: str, port: int, request: bytes) -> tuple[str, int]:
    """Return the status code of the answer, and its size in bytes."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(_ANSWER_S):
            writer.write(request)
            answer = await reader.read()
            return answer[9:12].decode() or "closed", len(answer)
    finally:
        writer.close()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
