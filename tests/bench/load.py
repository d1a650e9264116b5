"""A closed loop of connections: each asks for its next text when its last was answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.bench.http import Answer, Connection

RAMP_S = 1.0
"""At the start, when the answers have not come round yet: not part of the rate."""


@dataclass
class Outcome:
    """What a run of a closed loop gave; durations in seconds."""

    steady_s: float
    """For how long every connection had a question open."""
    steady: int = 0
    """Answers with status 200 in that time."""
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    forwards_s: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers with status 200, a second, while every connection had a question open."""
        return self.steady / self.steady_s

    @property
    def failures(self) -> int:
        """Answers with any other status."""
        return sum(self.statuses.values()) - self.statuses[200]

    def latency_s(self, q: float) -> float:
        """A quantile of the latencies of the 200s, 0..1."""
        return float(np.quantile(self.latencies_s, q))


async def closed_loop(url: str, texts: Sequence[str], *, connections: int, seconds: float) -> Outcome:
    """Ask for `seconds`, over RAMP_S, `connections` requests at a time, one text each, the texts in turn."""
    outcome = Outcome(steady_s=seconds - RAMP_S)
    turn = itertools.cycle(texts)
    began = time.perf_counter()

    async def ask_on() -> None:
        async with Connection(url) as connection:
            while (sent := time.perf_counter()) < began + seconds:
                answer = await connection.classify(next(turn))
                outcome.statuses[answer.status] += 1
                if answer.status == 200:
                    answered = time.perf_counter()
                    outcome.steady += began + RAMP_S < answered <= began + seconds
                    outcome.latencies_s.append(answered - sent)
                    outcome.forwards_s.append(_forward_s(answer))

    await asyncio.gather(*(ask_on() for _ in range(connections)))
    return outcome


async def get_rate(url: str, path: str, *, connections: int, seconds: float) -> float:
    """Requests a second of a GET that does no work."""
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


def _forward_s(answer: Answer) -> float:
    """Seconds on the device, as Server-Timing says; 0 from a server that does not say."""
    _, found, after = answer.header("server-timing").partition("forward;dur=")
    return float(after.partition(",")[0]) / 1000 if found else 0.0
