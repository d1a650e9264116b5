"""Guard process: parent of every process of `make serve`, which ends them all when the launcher ends.

    python -m serve_app.dev_server.guard FOLDER COMMAND ARGUMENT…

Its standard input is a pipe from the launcher, which closes when the launcher ends, also by kill -9. Orphans
of the command become children of the guard, so that it can end them too: Ray 2.60 leaves HAProxy running.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

STOP_PATIENCE_S = 5.0
"""Timeout of each step: SIGTERM to the command, which ends its children; SIGTERM to the rest; SIGKILL to the
rest."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_S = 0.05
_LAUNCHER_ENDED = -1


def main(folder: Path, command: list[str]) -> int:
    """Run the command until it ends, a signal arrives, or the launcher ends; then end all its processes.

    Args:
        folder: Folder of the cluster's files, removed if the launcher has ended and cannot remove it.
        command: Command to run.

    Returns:
        0 after a signal or the end of the launcher, 1 if the command ended by itself.
    """
    wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (*_STOPS, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_end_with_the_guard)
    try:
        code = _wait(child.pid, wake)
    finally:
        _end_all(child.pid)
    if code == _LAUNCHER_ENDED:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    return code


def end(guard: psutil.Popen, folder: Path) -> None:
    """End the guard and all processes that it started.

    Args:
        guard: The guard process, started with a pipe as its standard input.
        folder: Folder that occurs in the processes' arguments, to find them if the guard was killed.
    """
    with suppress(psutil.NoSuchProcess):
        guard.terminate()
    with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
        guard.wait(timeout=4 * STOP_PATIENCE_S)
    if guard.stdin is not None:
        guard.stdin.close()
    strays = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in argument for argument in process.info["cmdline"] or [])
    ]
    for process in strays:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(strays, timeout=STOP_PATIENCE_S)


def _wait(command: int, wake: int) -> int:
    while True:
        if command in _reap():
            return 1
        ready, _, _ = select.select([sys.stdin, wake], [], [])
        if wake in ready and any(number in _STOPS for number in os.read(wake, 64)):
            return 0
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 64):
            return _LAUNCHER_ENDED


def _end_all(command: int) -> None:
    """End the command, which ends its own children, and then all remaining descendants."""
    everything = psutil.Process().children(recursive=True)
    for number, first in ((signal.SIGTERM, command), (signal.SIGTERM, None), (signal.SIGKILL, None)):
        deadline = time.monotonic() + STOP_PATIENCE_S
        signalled: set[psutil.Process] = set()
        while everything and time.monotonic() < deadline:
            for process in everything:
                if process not in signalled and first in (None, process.pid):
                    signalled.add(process)
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(number)
            time.sleep(_POLL_S)
            _reap()
            everything = psutil.Process().children(recursive=True)
            if first and not psutil.pid_exists(first):
                break


def _reap() -> set[int]:
    """Return the process ids of the children that have ended since the last call."""
    ended: set[int] = set()
    with suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            ended.add(pid)
    return ended


def _end_with_the_guard() -> None:
    signal.set_wakeup_fd(-1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
