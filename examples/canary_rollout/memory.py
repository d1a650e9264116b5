"""Resident memory of every replica on this machine over time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from examples.canary_rollout.periodic import repeating

_EVERY_S = 0.5


@dataclass
class Memory:
    """Resident memory by process as points of (Unix time, bytes)."""

    points: dict[int, list[tuple[float, int]]] = field(default_factory=dict)

    def now(self) -> Mapping[int, int]:
        """Return the latest value of every process."""
        return {pid: points[-1][1] for pid, points in self.points.items()}

    def most(self, began_s: float, ended_s: float) -> Mapping[int, int]:
        """Return the maximum of every process in a time span, without processes that have no point in it."""
        found = {
            pid: [size for at, size in points if began_s <= at <= ended_s]
            for pid, points in self.points.items()
        }
        return {pid: max(sizes) for pid, sizes in found.items() if sizes}


@contextmanager
def watching(pids: Callable[[], list[int]]) -> Iterator[Memory]:
    """Record the memory of processes while the block runs; `pids` is called once, at the start."""
    memory = Memory()
    processes = [psutil.Process(pid) for pid in pids()]
    for process in processes:
        memory.points[process.pid] = [(time.time(), process.memory_info().rss)]

    def look() -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                memory.points[process.pid].append((time.time(), process.memory_info().rss))

    with repeating(look, _EVERY_S):
        yield memory
