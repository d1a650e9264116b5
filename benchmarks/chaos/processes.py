"""The processes of one service: descendants of its launcher, found by what they are to Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

MARK = "CHAOS_RUN"
"""Environment variable that every process of a service inherits; it identifies orphans."""

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class ServiceProcesses:
    """The process tree below a launcher.

    Args:
        launcher: `python -m serve_app`.
        mark: value of `MARK` in the environment of the launcher.
    """

    def __init__(self, launcher: psutil.Process, mark: str) -> None:
        self.launcher, self._mark = launcher, mark

    @property
    def node(self) -> psutil.Process:
        """`ray start`, which owns the processes of the Ray node."""
        node = self.gcs.parent()
        if node is None:
            raise LookupError("the GCS has no parent")
        return node

    @property
    def gcs(self) -> psutil.Process:
        """Ray's global control store."""
        return self._one("gcs_server")

    def gcs_port(self) -> int:
        """Return the port that the GCS listens on, as the raylet was told it."""
        [address] = [word for word in self._one("raylet").cmdline() if word.startswith("--gcs-address=")]
        return int(address.rpartition(":")[2])

    @property
    def haproxy(self) -> psutil.Process:
        """The HAProxy that listens: during a reload, the newest. Raises LookupError if there is none."""
        if not (running := self.haproxies):
            raise LookupError("no HAProxy below the launcher")
        return max(running, key=lambda process: process.create_time())

    @property
    def haproxies(self) -> list[psutil.Process]:
        """Every HAProxy: during a reload there are two."""
        return self._titled("haproxy")

    @property
    def replicas(self) -> list[psutil.Process]:
        """The replicas, in order of their start."""
        return sorted(self._titled("ray::ServeReplica:"), key=lambda process: process.create_time())

    def actors(self, name: str) -> list[psutil.Process]:
        """Every actor of Ray Serve with this class name."""
        return self._titled(f"ray::{name}")

    def actor(self, name: str) -> psutil.Process:
        """The only actor of Ray Serve with this class name."""
        return self._one(f"ray::{name}")

    def descendants(self) -> list[psutil.Process]:
        """All of them, without the launcher."""
        with suppress(psutil.NoSuchProcess):
            return list(self.launcher.children(recursive=True))
        return []

    def marked(self) -> list[psutil.Process]:
        """Every process with the mark in its environment, children of nobody included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self._mark and is_running(process):
                    found.append(process)
        return found

    def _one(self, title: str) -> psutil.Process:
        found = self._titled(title)
        if len(found) != 1:
            raise LookupError(f"{len(found)} processes titled {title!r} below the launcher, expected 1")
        return found[0]

    def _titled(self, title: str) -> list[psutil.Process]:
        found = []
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if words and (words[0].startswith(title) or words[0].endswith(f"/{title}")):
                    found.append(process)
        return found


def is_running(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not, unless other threads of it have not ended yet.

    The first thread of a killed process may be a zombie while others still hold its connections open.
    """
    with suppress(psutil.NoSuchProcess):
        has_ended = process.status() in _ENDED and process.num_threads() <= 1
        return bool(process.is_running() and not has_ended)
    return False


def wait_until(holds: Callable[[], bool], timeout_s: float, *, poll_s: float = 0.05) -> float:
    """Wait for a condition and return the seconds that it took; infinite if it did not come in time."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            return float("inf")
        time.sleep(poll_s)
    return time.monotonic() - began


def kill(processes: Sequence[psutil.Process]) -> None:
    """Send SIGKILL to each, and wait until none runs."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(is_running(process) for process in processes), 10, poll_s=0.002)
