"""Ten times what the service can do, for a while: what is accepted, what is told to the others, and after."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp
import psutil

MOST_OPEN = 2000
"""Requests that the generator keeps open at most; one that would be over it is counted, not sent."""


@dataclass
class Flood:
    """What an open-loop flood saw. Times in seconds, memory in bytes."""

    offered_per_s: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    not_sent: int = 0
    accepted: list[tuple[float, float, float]] = field(default_factory=list)
    """(sent at, latency, wait for the device) of each 200."""
    refused: list[tuple[float, float, float]] = field(default_factory=list)
    """(sent at, latency, Retry-After) of each 429."""
    memory: list[int] = field(default_factory=list)
    """Resident memory of the replica, twice a second."""
    idle_latency_s: float = 0.0
    recovered_s: float = 0.0
    """From the flood's end until a request is again answered within twice the idle latency."""

    def retry_ratios(self) -> list[float]:
        """Each Retry-After over the wait of the request that was accepted nearest in time."""
        waits = sorted((sent, wait) for sent, _, wait in self.accepted)
        ratios, place = [], 0
        for sent, _, retry_after in sorted(self.refused):
            while place + 1 < len(waits) and abs(waits[place + 1][0] - sent) <= abs(waits[place][0] - sent):
                place += 1
            ratios.append(retry_after / max(waits[place][1], 1e-3))
        return ratios


async def flood(
    url: str,
    texts: Sequence[str],
    replica: psutil.Process,
    *,
    per_s: float,
    seconds: float,
) -> Flood:
    """Send `per_s` requests a second, open loop, for `seconds`; then wait until the service is normal."""
    seen = Flood()
    open_now: set[asyncio.Task[None]] = set()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(60)) as session:

        async def ask(text: str) -> float:
            sent = time.perf_counter()
            async with session.post(f"{url}/v1/classify", json={"inputs": text}) as answer:
                body = await answer.json(content_type=None)
            latency = time.perf_counter() - sent
            seen.statuses[answer.status] += 1
            if answer.status == 200:
                seen.accepted.append((sent, latency, body["timing"]["queue_ms"] / 1000))
            elif answer.status == 429:
                seen.refused.append((sent, latency, float(answer.headers["Retry-After"])))
            return latency

        async def watch() -> None:
            while True:
                seen.memory.append(replica.memory_info().rss)
                await asyncio.sleep(0.5)

        async def note(text: str) -> None:
            await ask(text)

        seen.idle_latency_s = sorted([await ask(texts[0]) for _ in range(20)])[10]
        seen.statuses.clear()
        seen.accepted.clear()
        watching = asyncio.create_task(watch())
        began, sent = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - began) < seconds:
            for _ in range(int(elapsed * per_s) - sent):
                sent += 1
                if len(open_now) >= MOST_OPEN:
                    seen.not_sent += 1
                    continue
                task = asyncio.create_task(note(texts[sent % len(texts)]))
                open_now.add(task)
                task.add_done_callback(open_now.discard)
            await asyncio.sleep(0.005)
        ended = time.perf_counter()
        seen.offered_per_s = (sent - seen.not_sent) / (ended - began)
        await asyncio.gather(*open_now)
        statuses = Counter(seen.statuses)
        while await ask(texts[0]) > 2 * seen.idle_latency_s and time.perf_counter() < ended + 30:
            pass
        seen.recovered_s = time.perf_counter() - ended
        seen.statuses = statuses
        watching.cancel()
    return seen
