"""A closed loop of connections: each asks for its next text when its last was answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import numpy as np


@dataclass
class Outcome:
    """What a run of a closed loop gave; durations in seconds."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    forwards_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers with status 200, a second."""
        return self.statuses[200] / self.seconds

    @property
    def failures(self) -> int:
        """Answers with any other status."""
        return sum(self.statuses.values()) - self.statuses[200]

    def latency_s(self, q: float) -> float:
        """A quantile of the latencies of the 200s, 0..1."""
        return float(np.quantile(self.latencies_s, q))


async def closed_loop(url: str, texts: Sequence[str], *, connections: int, seconds: float) -> Outcome:
    """Ask for `seconds`, at most `connections` requests at a time, one text each, the texts in turn."""
    outcome = Outcome()
    place = 0
    ends = time.perf_counter() + seconds

    async def connection(session: aiohttp.ClientSession) -> None:
        nonlocal place
        while time.perf_counter() < ends:
            text, place = texts[place % len(texts)], place + 1
            began = time.perf_counter()
            async with session.post(f"{url}/v1/classify", json={"inputs": text}) as answer:
                body = await answer.json(content_type=None)
            outcome.statuses[answer.status] += 1
            if answer.status == 200:
                outcome.latencies_s.append(time.perf_counter() - began)
                outcome.forwards_s.append(body.get("timing", {}).get("forward_ms", 0.0) / 1000)

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(connection(session) for _ in range(connections)))
        outcome.seconds = time.perf_counter() - began
    return outcome


async def get_rate(url: str, *, connections: int, seconds: float) -> float:
    """Requests a second of a GET that does no work."""
    count = 0
    ends = time.perf_counter() + seconds

    async def connection(session: aiohttp.ClientSession) -> None:
        nonlocal count
        while time.perf_counter() < ends:
            async with session.get(url) as answer:
                await answer.read()
                answer.raise_for_status()
            count += 1

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(connection(session) for _ in range(connections)))
        return count / (time.perf_counter() - began)
