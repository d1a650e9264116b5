"""Ten times the capacity for a while: accepted requests, refused requests, and the recovery."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.http import Connection

MOST_OPEN = 1000
"""Maximum number of open requests of the generator; further ones are counted, not sent."""


@dataclass
class Flood:
    """Results of an open-loop flood. Times in seconds, memory in bytes."""

    offered_per_s: float = 0.0
    began: float = 0.0
    """Time at which the first request was sent."""
    statuses: Counter[int] = field(default_factory=Counter)
    not_sent: int = 0
    accepted: list[tuple[float, float, float]] = field(default_factory=list)
    """(sent at, latency, time until the device had finished it) of each 200."""
    refused: list[tuple[float, float, float]] = field(default_factory=list)
    """(sent at, latency, Retry-After) of each 429."""
    memory: list[int] = field(default_factory=list)
    """Resident memory of the replica, twice per second."""
    idle_latency_s: float = 0.0
    recovered_s: float = 0.0
    """Seconds from the flood's end until a request is answered within twice the idle latency again."""

    def retry_ratios(self) -> list[float]:
        """Return each Retry-After divided by the time of the accepted request that is nearest in time.

        That time is what Retry-After predicts: how long the device takes for the earlier requests.
        """
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
    """Send `per_s` requests per second, open loop, for `seconds`; then wait until the service is normal."""
    seen = Flood()
    pool = [Connection(url) for _ in range(MOST_OPEN)]
    running: set[asyncio.Task[float]] = set()

    async def ask(text: str, connection: Connection) -> float:
        sent = time.perf_counter()
        answer = await connection.classify(text)
        latency = time.perf_counter() - sent
        pool.append(connection)
        seen.statuses[answer.status] += 1
        if answer.status == 200:
            timing = answer.json()["timing"]
            seen.accepted.append((sent, latency, (timing["queue_ms"] + timing["forward_ms"]) / 1000))
        elif answer.status == 429:
            seen.refused.append((sent, latency, float(answer.header("retry-after"))))
        return latency

    async def watch() -> None:
        while True:
            seen.memory.append(replica.memory_info().rss)
            await asyncio.sleep(0.5)

    seen.idle_latency_s = statistics.median([await ask(texts[0], pool.pop()) for _ in range(20)])
    seen.statuses.clear()
    seen.accepted.clear()
    watching = asyncio.create_task(watch())
    seen.began, due = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - seen.began) < seconds:
        for place in range(due, int(elapsed * per_s)):
            if pool:
                task = asyncio.create_task(ask(texts[place % len(texts)], pool.pop()))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                seen.not_sent += 1
        due = max(due, int(elapsed * per_s))
        await asyncio.sleep(0.005)
    ended = time.perf_counter()
    seen.offered_per_s = (due - seen.not_sent) / (ended - seen.began)
    await asyncio.gather(*running)
    statuses = Counter(seen.statuses)
    while await ask(texts[0], pool.pop()) > 2 * seen.idle_latency_s and time.perf_counter() < ended + 30:
        pass
    seen.recovered_s = time.perf_counter() - ended
    seen.statuses = statuses
    watching.cancel()
    for connection in pool:
        connection.close()
    return seen
