"""Single replica in this process: its latency while it loads another version, divided by that before."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from examples.canary_rollout.models import TEXTS, version_of_builtin
from serve_app.replica.deployment import ClassifierReplica

TURNS = 12
_QUIET_S = 3.0
_EVERY_S = 0.2
_DEADLINE_S = 60.0


def run(*, replicas: int, per_minute: float, names: object) -> Iterator[str]:
    """Yield one row.

    The open-loop load is five requests per second, in turns with and without a model load.
    """
    with tempfile.TemporaryDirectory(prefix="replica-") as scratch:
        folder = Path(scratch)
        uris = [version_of_builtin(folder / version, version) for version in ("a", "b")]
        quiet_ms, busy_ms = asyncio.run(_measure(uris))
    before, meanwhile = np.quantile(quiet_ms, 0.95), np.quantile(busy_ms, 0.95)
    medians = f"{np.median(quiet_ms):.0f} | {np.median(busy_ms):.0f}"
    yield "| loads | p50 before | p50 meanwhile | p95 before, ms | p95 meanwhile, ms | factor of the p95 |"
    yield "|---|---|---|---|---|---|"
    yield (
        f"| {TURNS} | {medians} | {before:.0f} ({len(quiet_ms)}) | "
        f"{meanwhile:.0f} ({len(busy_ms)}) | {meanwhile / before:.1f} |"
    )


async def _measure(uris: list[str]) -> tuple[list[float], list[float]]:
    """Return the milliseconds of requests that began in quiet periods, and of those during a load."""
    replica = ClassifierReplica()
    await replica.reconfigure({"champion": uris[0]})
    quiet: list[float] = []
    busy: list[float] = []

    async def ask(text: str, into: list[float]) -> None:
        began = time.monotonic()
        await replica.classify([text], deadline=began + _DEADLINE_S)
        into.append(1000 * (time.monotonic() - began))

    for turn in range(TURNS):
        await _ask_until(asyncio.create_task(asyncio.sleep(_QUIET_S)), ask, quiet)
        change = replica.reconfigure({"champion": uris[(turn + 1) % 2]})
        await _ask_until(asyncio.create_task(change), ask, busy)
    return quiet, busy


async def _ask_until(
    done: asyncio.Task[None], ask: Callable[[str, list[float]], Coroutine[Any, Any, None]], into: list[float]
) -> None:
    """Send requests at a fixed rate until a task is done, and wait for the last answer."""
    async with asyncio.TaskGroup() as asked:
        place = 0
        while not done.done():
            asked.create_task(ask(TEXTS[place % len(TEXTS)], into))
            place += 1
            await asyncio.sleep(_EVERY_S)
    await done
