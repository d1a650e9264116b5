"""Most expensive requests at the size limit, for every route and content type, and their cost.

    python -m tests.contract.worst_cases [MAX_BODY_BYTES]

The command sends them to the real ASGI application and prints one JSON object per case. The cases of a group
run in a process of their own, forked from one that has not read a large body yet.

The cases are derived from the application: its routes, and the examples of its OpenAPI document, in which
each value in turn is replaced by each of the worst values.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import gzip
import json
import logging
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.settings import Settings
from tests.contract.fake_replica import FakeReplica

Headers = list[tuple[bytes, bytes]]

_CHUNK_BYTES = 64 << 10
"""Size of one body chunk of uvicorn."""
_WITHIN_COUNT = 9000
"""Number of items that is below the limit of 10,000."""
_SUSPECT_MS = 25
_RUNS = 5
"""Maximum number of runs of a case whose gap is above `_SUSPECT_MS`. The shortest gap counts, because other
load on the machine makes some of them longer."""
_MARK = "\u0001mark"


@dataclass(frozen=True, slots=True)
class Case:
    """One request; the cases of a `group` run in the same process."""

    group: str
    name: str
    method: str
    path: str
    headers: Headers
    body: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of one request.

    Attributes:
        status: HTTP status of the response.
        answer_bytes: size of the response body.
        gap_ms: longest time during which the event loop was blocked, in CPU time of the process.
        peak_bytes: growth of the process's resident memory.
    """

    group: str
    name: str
    status: int
    answer_bytes: int
    gap_ms: float
    peak_bytes: int


# --- the cases


def cases(app: FastAPI, limit: int) -> Iterator[Case]:
    """Yield every case for every route of the application; the cases of a group are adjacent."""
    document = app.openapi()
    for route in app.routes:
        if not isinstance(route, APIRoute):
            continue
        path = route.path.replace("{name}", "fake").replace("{version}", "7")
        for method in sorted(route.methods or ()):
            operation = document["paths"].get(route.path, {}).get(method.lower(), {})
            content = operation.get("requestBody", {}).get("content", {})
            where = f"{method} {route.path}"
            yield from _header_cases(where, method, path, _examples(content))
            for media_type, media in content.items():
                headers = [(b"content-type", media_type.encode())]
                for kind, name, body in _bodies(media_type, _examples({media_type: media}), limit):
                    yield Case(f"{where} {media_type}", f"{kind}{name}", method, path, headers, body)
    long = "/" + "a" * 60_000
    yield Case("no route", "long path", "GET", long, [], bytes)


def _examples(content: dict[str, Any]) -> list[bytes]:
    """Return the encoded examples of a request body."""
    found = []
    for media in content.values():
        values = [example["value"] for example in media.get("examples", {}).values()]
        values += [media["example"]] if "example" in media else []
        found += [(value if isinstance(value, str) else json.dumps(value)).encode() for value in values]
    return found or [b"{}"]


def _header_cases(where: str, method: str, path: str, examples: Sequence[bytes]) -> Iterator[Case]:
    long, json_type = b"a" * 60_000, (b"content-type", b"application/json")
    for name, headers in {
        "long content type": [(b"content-type", long)],
        "content type of quotes": [(b"content-type", b"'" * 60_000)],
        "long encoding": [json_type, (b"content-encoding", long)],
        "long request id": [json_type, (b"x-request-id", long)],
        "request id of other bytes": [json_type, (b"x-request-id", b"\xff\x80" * 20)],
        "long deadline": [json_type, (b"x-request-timeout-ms", b"1" * 60_000)],
        "deadline of other bytes": [json_type, (b"x-request-timeout-ms", b"\xff" * 60_000)],
        "long content length": [json_type, (b"content-length", b"9" * 60_000)],
        "long key": [json_type, (b"x-api-key", long), (b"authorization", b"Bearer " + long)],
        "many headers": [json_type, *((b"x-%d" % number, b"a") for number in range(4000))],
        "not compressed": [json_type, (b"content-encoding", b"gzip")],
    }.items():
        yield Case(f"{where}", name, method, path, headers, partial(bytes, examples[0]))


def _bodies(
    media_type: str, examples: Sequence[bytes], limit: int
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Yield (kind, name, body) for a content type; the bodies of a kind are adjacent."""
    for kind, worst in _raw_bodies(limit).items():
        yield kind, "", worst
    if media_type == "application/json":
        yield from _mutations(examples, limit, lambda value: value)
    elif "json" in media_type:  # JSON lines: on one line, and on as many lines as fit
        lines = [line for example in examples for line in example.splitlines() if line.strip()]
        yield from _mutations(lines, limit, lambda value: value)
        for line in lines[:1]:
            yield "repeated line", "", lambda line=line: _repeated(b"", line + b"\n", b"", limit)


def _mutations(
    examples: Sequence[bytes], limit: int, finish: Callable[[bytes], bytes]
) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
    """Yield each example with each of its values replaced by each of the worst values."""
    seen: dict[str, tuple[bytes, bytes, Any]] = {}
    for example in examples:
        for location, marked, value in _marked(json.loads(example)):
            before, after = json.dumps(marked, ensure_ascii=False).encode().split(json.dumps(_MARK).encode())
            seen.setdefault(location, (before, after, value))
    for kind, worst in _worst_values(limit).items():
        for location, (before, after, value) in seen.items():
            yield (
                kind,
                f" at {location or '/'}",
                lambda worst=worst, before=before, after=after, value=value: finish(
                    before + worst(value, limit - len(before) - len(after)) + after
                ),
            )


def _marked(value: Any, location: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (location, document with a mark at the location, original value) for each value of a document."""
    yield location, _MARK, value
    if isinstance(value, dict):
        for key, member in value.items():
            for where, marked, inner in _marked(member, f"{location}/{key}"):
                yield where, {**value, key: marked}, inner
    elif isinstance(value, list) and value:
        for where, marked, inner in _marked(value[0], f"{location}/0"):
            yield where, [marked, *value[1:]], inner


def _worst_values(limit: int) -> dict[str, Callable[[Any, int], bytes]]:
    """Return functions that make a JSON value of at most the given bytes from the value that it replaces."""

    def many(unit: bytes, start: bytes = b"[", end: bytes = b"]") -> dict[str, Callable[[Any, int], bytes]]:
        name = unit.decode()
        return {
            f"{name} x size": lambda _, size: _repeated(start, unit + b",", end, size),
            f"{name} x count": lambda _, size: _repeated(
                start, unit + b",", end, min(size, _WITHIN_COUNT * (len(unit) + 1))
            ),
        }

    def keys(_: Any, size: int) -> bytes:
        return b"{%s}" % b",".join(b'"k%d":1' % number for number in range(min(_WITHIN_COUNT, size // 12)))

    def repeated(value: Any, size: int, count: int | None = None) -> bytes:
        unit = json.dumps(value[0] if isinstance(value, list) and value else value).encode() + b","
        return _repeated(b"[", unit, b"]", size if count is None else min(size, count * len(unit)))

    def text(unit: bytes) -> Callable[[Any, int], bytes]:
        return lambda _, size: _repeated(b'"', unit, b'"', size)

    makers: dict[str, Callable[[Any, int], bytes]] = {}
    for unit in (b"1", b'""', b"[]", b"{}", b'[""]', b'{"a":1}', b"[1]", b"null", b"1.5", b'"\xe2\x80\x8b"'):
        makers |= many(unit)
    makers |= {
        "itself x size": repeated,
        "itself x count": partial(repeated, count=_WITHIN_COUNT // 10),
        "itself x 64": partial(repeated, count=64),
        "keys": keys,
        "long keys": lambda _, size: (
            b"{%s}" % b",".join(b'"%s%d":1' % (b"k" * 1000, number) for number in range(size // 1020))
        ),
        "one key, again": lambda _, size: _repeated(b"{", b'"a":1,', b"}", size),
        "long key": lambda _, size: b'{"%s":1}' % (b"k" * (size - 6)),
        "key of slashes": lambda _, size: b'{"%s":1}' % (b"/~" * (size // 2 - 3)),
        "deep lists": lambda _, size: b"[" * (size // 2) + b"]" * (size // 2),
        "deep objects": lambda _, size: b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
        "less deep lists": lambda _, size: b",".join([b"[" * 100 + b"]" * 100] * 90).join((b"[", b"]")),
        "long integer": lambda _, size: b"1" * size,
        "long fraction": lambda _, size: b"1." + b"1" * (size - 2),
        "long exponent": lambda _, size: b"1e" + b"1" * (size - 2),
        "long text": text(b"a"),
        "text of spaces": text(b" "),
        "text of zero-width spaces": text(b"\xe2\x80\x8b"),
        "text of emoji": text("😀".encode()),
        "text of escapes": text(b"\\n"),
        "text of backslashes": text(b"\\\\"),
        "text of escaped quotes": text(b'\\"'),
        "text of lone surrogates": text(b"\\ud800"),
        "text of commas": text(b",[{"),
        "texts at the limit": lambda _, size: _repeated(b"[", b'"%s",' % (b"a" * 16_000), b"]", size),
        "texts of digits": lambda _, size: _repeated(b"[", b'"%s",' % (b"1 " * 8_000), b"]", size),
        "texts of mail": lambda _, size: _repeated(b"[", b'"%s",' % (b"a@" * 8_000), b"]", size),
    }
    return makers


def _raw_bodies(limit: int) -> dict[str, Callable[[], bytes]]:
    """Return functions that make complete bodies for any content type."""
    bodies: dict[str, Callable[[], bytes]] = {"empty": bytes}
    for unit in (
        *(
            b"a\n",
            b"\n",
            b"\r",
            b"a,",
            b'"",',
            b'""\n',
            b'"',
            b"a",
            b"\x00",
            b"\xff",
            b"\\",
            b"[",
            b"{",
            b" ",
        ),
        *(b'{"a":', b"{}\n", b"[]\n", b'{"inputs":1}\n', b'{"inputs":"a"}\n', b"\xef\xbb\xbf", b"1", b"1\n"),
    ):
        bodies[f"{unit!r} x size"] = partial(_repeated, b"", unit, b"", limit)
    bodies["unclosed quote"] = lambda: _repeated(b'inputs\n"', b"a\n", b"", limit)
    return bodies


def _repeated(start: bytes, unit: bytes, end: bytes, size: int) -> bytes:
    """Repeat `unit` as often as it fits into `size` bytes, without the comma after the last one."""
    repeated = unit * max(1, (size - len(start) - len(end)) // len(unit))
    return start + repeated.removesuffix(b",") + end


def compressed(case: Case, limit: int) -> Iterator[Case]:
    """Yield compressed bodies that decompress to 1 and 100 times the size limit."""
    for name, encoding, compress in (
        ("gzip", b"gzip", gzip.compress),
        ("zlib", b"deflate", zlib.compress),
        ("raw deflate", b"deflate", lambda body: zlib.compress(body, wbits=-zlib.MAX_WBITS)),
    ):
        for times in (1, 100):
            yield Case(
                f"{case.method} {case.path}, compressed",
                f"{name}, {times} x the limit",
                case.method,
                case.path,
                [*case.headers, (b"content-encoding", encoding)],
                lambda compress=compress, times=times: compress(b" " * (limit * times)),
            )


# --- measurement


def measure_all(limit: int, log: str) -> Iterator[Cost]:
    """Run every case, each group in a process of its own, and yield the costs."""
    settings = Settings(max_body_bytes=limit, log_uri=log, log_flush_s=3600)
    app = build_api(FakeReplica(), settings, Metrics())
    plain = list(cases(app, limit))
    bodied = {
        case.path: case
        for case in plain
        if case.method == "POST" and (b"content-type", b"application/json") in case.headers
    }
    everything = [*plain, *(c for case in bodied.values() for c in compressed(case, limit))]
    assert threading.active_count() == 1, "a fork takes no thread along"
    gc.collect()
    gc.freeze()  # Serve does the same in a replica
    for _, members in groupby(everything, key=lambda case: case.group):
        yield from _measured(list(members), settings)


def _measured(members: Sequence[Case], settings: Settings) -> list[Cost]:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                json.dump([asdict(cost) for cost in asyncio.run(_run_all(members, settings))], pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        written = pipe.read()
    os.waitpid(pid, 0)
    return [Cost(**cost) for cost in json.loads(written)]


async def _run_all(members: Sequence[Case], settings: Settings) -> list[Cost]:
    metrics = Metrics()
    app = build_api(FakeReplica(), settings, metrics, open_logger(settings, metrics))
    await _run(app, members[0], b"")  # includes one-time work of the process, such as imports
    costs = []
    for case in members:
        body = case.body()
        runs = [await _run(app, case, body)]
        while runs[-1].gap_ms > _SUSPECT_MS and len(runs) < _RUNS:
            runs.append(await _run(app, case, body))
        costs.append(replace(runs[0], gap_ms=min(run.gap_ms for run in runs)))
    return costs


async def _run(app: FastAPI, case: Case, body: bytes) -> Cost:
    """Send one request in chunks, as uvicorn does, and measure the event loop and the memory meanwhile."""
    _trim()
    before_bytes = _resident_bytes()
    path, sent, answer = case.path, 0, bytearray()
    status = 0

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent > len(body):
            await asyncio.Event().wait()  # the client waits for the response
        chunk, sent = body[sent : sent + _CHUNK_BYTES], sent + _CHUNK_BYTES
        more = sent < len(body)
        sent = sent if more else len(body) + 1
        return {"type": "http.request", "body": chunk, "more_body": more}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        answer.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": case.method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 1),
        "headers": case.headers,
    }
    heart = asyncio.create_task(_longest_gap_s())
    await asyncio.sleep(0)
    await app(scope, receive, send)
    await asyncio.sleep(0.002)
    heart.cancel()
    gap_ms = 1000 * await heart
    return Cost(case.group, case.name, status, len(answer), gap_ms, _peak_bytes() - before_bytes)


async def _longest_gap_s() -> float:
    """Wake up every millisecond until cancelled; return the process's maximum CPU time between two wakeups.

    CPU time excludes other programs on the machine. It includes threads that hold the interpreter lock,
    because the event loop cannot run meanwhile.
    """
    longest_s, last_s = 0.0, time.process_time()
    try:
        while True:
            await asyncio.sleep(0.001)
            now_s = time.process_time()
            longest_s, last_s = max(longest_s, now_s - last_s), now_s
    except asyncio.CancelledError:
        return max(longest_s, time.process_time() - last_s)


def _trim() -> None:
    """Return freed memory to the system, so that its reuse counts as growth."""
    ctypes.CDLL(None).malloc_trim(0)


def _resident_bytes() -> int:
    """Reset the peak of the process's resident memory and return the current value in bytes."""
    with open("/proc/self/clear_refs", "w") as refs:  # noqa: PTH123
        refs.write("5")
    return _status_bytes("VmRSS:")


def _peak_bytes() -> int:
    return _status_bytes("VmHWM:")


def _status_bytes(field: str) -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(field))


def main(limit: int, log: str) -> None:
    """Print the cost of every case."""
    logging.disable(logging.CRITICAL)
    for cost in measure_all(limit, log):
        print(json.dumps(asdict(cost)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 20, sys.argv[2] if len(sys.argv) > 2 else "/tmp")
