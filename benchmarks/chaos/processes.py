"""Processes of one service: descendants of its launcher, identified by their role in Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

MARK = "CHAOS_RUN"
"""Environment variable that every process of a service inherits; it identifies orphans."""

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class ServiceProcesses:
    """Process tree below a launcher.

    Args:
        launcher: process of `python -m serve_app`.
        mark: value of `MARK` in the environment of the launcher.
    """

    def __init__(self, launcher: psutil.Process, mark: str) -> None:
        self.launcher, self._mark = launcher, mark

    @property
    def node(self) -> psutil.Process:
        """Return `ray start`, which owns the processes of the Ray node."""
        node = self.gcs.parent()
        if node is None:
            raise LookupError("the GCS has no parent")
        return node

    @property
    def gcs(self) -> psutil.Process:
        """Return Ray's global control store."""
        return self._one("gcs_server")

    def gcs_port(self) -> int:
        """Return the port of the GCS, from the raylet's command line."""
        [address] = [word for word in self._one("raylet").cmdline() if word.startswith("--gcs-address=")]
        return int(address.rpartition(":")[2])

    @property
    def haproxy(self) -> psutil.Process:
        """Return the listening HAProxy, during a reload the newest. Raises LookupError if there is none."""
        if not (running := self.haproxies):
            raise LookupError("no HAProxy below the launcher")
        return max(running, key=lambda process: process.create_time())

    @property
    def haproxies(self) -> list[psutil.Process]:
        """Return every HAProxy process: during a reload there are two."""
        return self._titled("haproxy")

    @property
    def replicas(self) -> list[psutil.Process]:
        """Return the replicas in order of their start."""
        return sorted(self._titled("ray::ServeReplica:"), key=lambda process: process.create_time())

    def actors(self, name: str) -> list[psutil.Process]:
        """Return every Ray Serve actor with this class name."""
        return self._titled(f"ray::{name}")

    def actor(self, name: str) -> psutil.Process:
        """Return the only Ray Serve actor with this class name."""
        return self._one(f"ray::{name}")

    def descendants(self) -> list[psutil.Process]:
        """Return all descendants of the launcher, without the launcher."""
        with suppress(psutil.NoSuchProcess):
            return list(self.launcher.children(recursive=True))
        return []

    def marked(self) -> list[psutil.Process]:
        """Return every process with the mark in its environment, including orphans."""
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
    """Return whether a process is running; a zombie is not, unless it has other threads that have not ended.

    The first thread of a killed process may be a zombie while others still hold its connections open.
    """
    with suppress(psutil.NoSuchProcess):
        has_ended = process.status() in _ENDED and process.num_threads() <= 1
        return bool(process.is_running() and not has_ended)
    return False


def wait_until(holds: Callable[[], bool], timeout_s: float, *, poll_s: float = 0.05) -> float:
    """Wait for a condition and return the seconds that it took; infinite after the timeout."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > timeout_s:
            return float("inf")
        time.sleep(poll_s)
    return time.monotonic() - began


def kill(processes: Sequence[psutil.Process]) -> None:
    """Send SIGKILL to each process, and wait until none is running."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(is_running(process) for process in processes), 10, poll_s=0.002)
