"""Closed loop of connections: each sends its next text when its last one was answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.http import Connection, HttpResponse

RAMP_S = 1.0
"""Seconds at the start that do not count towards the rate, until every connection has had an answer."""


@dataclass
class LoadResult:
    """Results of a closed loop; durations in seconds."""

    steady_s: float
    """Seconds for which every connection had an open request."""
    steady: int = 0
    """Number of answers with status 200 in that time."""
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    forwards_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return the answers with status 200 per second, while every connection had an open request."""
        return self.steady / self.steady_s

    @property
    def failures(self) -> int:
        """Return the number of answers with any other status."""
        return sum(self.statuses.values()) - self.statuses[200]

    def latency_s(self, q: float) -> float:
        """Return a quantile `q` (0..1) of the latencies of the answers with status 200."""
        return float(np.quantile(self.latencies_s, q))


async def closed_loop(
    url: str,
    texts: Sequence[str],
    *,
    connections: int,
    seconds: float,
    ask: Callable[[Connection, str], Awaitable[HttpResponse]] = Connection.classify,
) -> LoadResult:
    """Send texts for `seconds` plus RAMP_S on `connections` connections, one text per request, in turn.

    Args:
        url: URL of the service.
        texts: Texts, which are sent again from the first when all were sent.
        connections: Number of connections.
        seconds: Duration.
        ask: Sends one text.
    """
    outcome = LoadResult(steady_s=seconds - RAMP_S)
    turn = itertools.cycle(texts)
    began = time.perf_counter()

    async def ask_on() -> None:
        async with Connection(url) as connection:
            while (sent := time.perf_counter()) < began + seconds:
                answer = await ask(connection, next(turn))
                outcome.statuses[answer.status] += 1
                if answer.status == 200:
                    answered = time.perf_counter()
                    outcome.steady += began + RAMP_S < answered <= began + seconds
                    outcome.latencies_s.append(answered - sent)
                    outcome.forwards_s.append(_forward_s(answer))

    await asyncio.gather(*(ask_on() for _ in range(connections)))
    return outcome


async def get_rate(url: str, path: str, *, connections: int, seconds: float) -> float:
    """Return the requests per second of a GET that does no work."""
    count = 0
    began = time.perf_counter()

    async def ask_on() -> None:
        nonlocal count
        async with Connection(url) as connection:
            while time.perf_counter() < began + seconds:
                assert (await connection.get(path)).status == 200
                count += 1

    await asyncio.gather(*(ask_on() for _ in range(connections)))
    return count / (time.perf_counter() - began)


def _forward_s(answer: HttpResponse) -> float:
    """Return the seconds on the device from the Server-Timing header; 0 if it is absent."""
    _, found, after = answer.header("server-timing").partition("forward;dur=")
    return float(after.partition(",")[0]) / 1000 if found else 0.0
