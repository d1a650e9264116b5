"""Measurements of small requests next to large ones: latency, refusals and throughput of each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.http import Connection, HttpResponse

RAMP_S = 1.0
"""Seconds at the start of a run that do not count towards its rate."""


@dataclass
class Seen:
    """Results of clients of one kind; durations in seconds."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    texts: int = 0
    """Texts answered with status 200 after the ramp and before the end."""
    latencies_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return the texts answered per second."""
        return self.texts / (self.seconds - RAMP_S)

    @property
    def failures(self) -> int:
        """Return the answers with any status other than 200."""
        return sum(self.statuses.values()) - self.statuses[200]

    def latency_s(self, q: float) -> float:
        """Return a quantile `q` (0..1) of the latencies."""
        return float(np.quantile(self.latencies_s, q))


async def closed_loops(
    url: str, texts: Sequence[str], *, connections: int, per_request: int, seconds: float, priority: str = ""
) -> Seen:
    """Send requests of `per_request` texts each, one at a time on each connection, for `seconds`."""
    seen, turn, began = Seen(seconds), itertools.cycle(texts), time.perf_counter()

    async def loop() -> None:
        async with Connection(url) as connection:
            while (sent := time.perf_counter()) < began + seconds:
                batch = list(itertools.islice(turn, per_request))
                answer = await connection.classify_many(batch, priority=priority)
                _record(seen, answer, sent, began, per_request)

    await asyncio.gather(*(loop() for _ in range(connections)))
    return seen


async def open_loop(url: str, texts: Sequence[str], *, per_s: float, seconds: float) -> Seen:
    """Send one text every 1 / per_s seconds, regardless of whether the earlier ones are answered."""
    seen, began, free = Seen(seconds), time.perf_counter(), list[Connection]()
    running: set[asyncio.Task[None]] = set()

    async def send(text: str) -> None:
        connection = free.pop() if free else Connection(url)
        sent = time.perf_counter()
        _record(seen, await connection.classify(text), sent, began, 1)
        free.append(connection)

    for index in range(int(per_s * seconds)):
        await asyncio.sleep(max(0.0, began + index / per_s - time.perf_counter()))
        task = asyncio.create_task(send(texts[index % len(texts)]))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for connection in free:
        connection.close()
    return seen


async def next_to_bulk(
    url: str, small: Sequence[str], large: Sequence[str], *, per_s: float, seconds: float, priority: str
) -> tuple[Seen, Seen]:
    """Run an open loop of small requests next to a client with 64 long texts per request.

    Return the results of both.
    """
    bulk = asyncio.create_task(
        closed_loops(url, large, connections=1, per_request=64, seconds=seconds, priority=priority)
    )
    await asyncio.sleep(RAMP_S)
    seen = await open_loop(url, small, per_s=per_s, seconds=seconds - RAMP_S)
    return seen, await bulk


async def burst(url: str, texts: Sequence[str]) -> Seen:
    """Send all texts at once, each on its own connection, which is open already."""
    connections = [Connection(url) for _ in texts]
    await asyncio.gather(*(connection.get("/v2/health/live") for connection in connections))
    seen, began = Seen(2 * RAMP_S), time.perf_counter()
    answers = await asyncio.gather(
        *(connection.classify(text) for connection, text in zip(connections, texts, strict=True))
    )
    for answer, connection in zip(answers, connections, strict=True):
        _record(seen, answer, began, began, 1)
        connection.close()
    return seen


def _record(seen: Seen, answer: HttpResponse, sent: float, began: float, texts: int) -> None:
    now = time.perf_counter()
    seen.statuses[answer.status] += 1
    if answer.status == 200:
        seen.latencies_s.append(now - sent)
        if began + RAMP_S < now <= began + seen.seconds:
            seen.texts += texts


def long_text(texts: Sequence[str], words: int = 600) -> str:
    """Return a text that is truncated at the model's limit: about as many tokens as the model accepts."""
    return " ".join(itertools.islice(itertools.cycle(" ".join(texts).split()), words))
