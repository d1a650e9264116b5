"""Standby process for HAProxy: if HAProxy dies, it starts another one with the same configuration.

After three failed health checks Ray replaces the proxy actor, and the new actor starts a new HAProxy. The
standby's HAProxy serves until that one takes over. It has a separate admin socket, so that the health checks
of the dead HAProxy still fail. One standby runs for each folder of HAProxy's files, and thus for each node.

If the actor dies, its HAProxy continues until that of the next actor takes over, and the standby ends it if
there will be none.

    python standby.py FOLDER BINARY
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

CONFIG = "standby.cfg"
SOCKET = "s.sock"
_SERVING, _STANDBY, _LOCK, _LOG = "serving.json", "standby.json", "standby.lock", "standby.log"
_DELIBERATE_S = 3.0
"""Maximum time between the ends of HAProxy and its actor if Ray stops the proxy on purpose. After a failure
of HAProxy the actor lives until three health checks have failed, which takes longer."""
_SUCCESSION_S = 60.0
"""Time after the actor's end within which the HAProxy of its successor starts, if there is a successor."""
_POLL_S = 0.1
_PAUSE_S = 0.2
_MAX_STARTS = 20


@dataclass(frozen=True, slots=True)
class Serving:
    """HAProxy process.

    Attributes:
        pid: Process id.
        owner: Process id of the actor that started it.
        socket: Path of its admin socket.
        raylet: Process id of the raylet that starts the owner's successor.
    """

    pid: int
    owner: int
    socket: str
    raylet: int


def serving(folder: Path) -> Serving | None:
    """Return the HAProxy of this folder that runs now, Ray's or the standby's."""
    found = (_read(folder / name) for name in (_SERVING, _STANDBY))
    return next((process for process in found if process and _is_haproxy(process.pid, folder)), None)


def register(folder: Path, binary: str, process: Serving) -> None:
    """Record the process that is about to become HAProxy, and start a standby unless one runs."""
    _write(folder / _SERVING, process)
    with (folder / _LOCK).open("w") as lock, (folder / _LOG).open("ab") as log:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # a standby runs already
        fcntl.flock(lock, fcntl.LOCK_UN)
        subprocess.Popen(
            [sys.executable, __file__, str(folder), binary],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def raylet_of(pid: int) -> int:
    """Return the process id of the raylet above the process, or of the process's parent if there is none."""
    _, parent = _stat(pid)
    ancestor = parent
    with suppress(OSError):
        while ancestor:
            if Path(f"/proc/{ancestor}/comm").read_text() == "raylet\n":
                return ancestor
            _, ancestor = _stat(ancestor)
    return parent


def main(folder: Path, binary: str) -> None:
    """Run the standby until HAProxy has been stopped on purpose."""
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        previous: Serving | None = None
        while process := _read(folder / _SERVING):
            _wait(process.pid, process.owner)
            if _runs(process.pid) and not _wait_for_successor(folder, process):
                return
            if _read(folder / _SERVING) == process:
                if previous and _is_haproxy(previous.pid, folder):
                    # The process ended before it took over: its predecessor must release the listeners.
                    with suppress(ProcessLookupError):
                        os.kill(previous.pid, signal.SIGUSR1)
                if not _stand_in(folder, binary, process):
                    return
            previous = process


def _wait_for_successor(folder: Path, process: Serving) -> bool:
    """Wait until a HAProxy without an actor has a successor or has ended.

    Returns:
        False if there will be no successor: HAProxy has been requested to end.
    """
    deadline = time.monotonic() + _SUCCESSION_S
    while _runs(process.pid) and _read(folder / _SERVING) == process:
        if time.monotonic() > deadline or not _runs(process.raylet):
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            return False
        time.sleep(_POLL_S)
    return True


def _stand_in(folder: Path, binary: str, dead: Serving) -> bool:
    """Serve until a successor of the dead HAProxy has taken over.

    Returns:
        False if there will be none.
    """
    died_at = time.monotonic()
    owner_gone_at = None if _runs(dead.owner) else died_at
    owner_failed = owner_gone_at is not None
    child: subprocess.Popen[bytes] | None = None
    starts = 0
    try:
        while True:
            if child is None or child.poll() is not None:
                if starts:
                    time.sleep(_PAUSE_S)
                if starts == _MAX_STARTS:
                    return False
                starts += 1
                child = subprocess.Popen([binary, "-db", "-dR", "-f", str(folder / CONFIG)])
                _write(folder / _STANDBY, Serving(child.pid, os.getpid(), str(folder / SOCKET), dead.raylet))
            now = time.monotonic()
            if owner_gone_at is None and not _runs(dead.owner):
                owner_gone_at = now
            if owner_gone_at is not None:
                is_deliberate = not owner_failed and owner_gone_at - died_at < _DELIBERATE_S
                if is_deliberate or now - owner_gone_at > _SUCCESSION_S or not _runs(dead.raylet):
                    return False
            successor = _read(folder / _SERVING)
            if successor and successor != dead and _is_haproxy(successor.pid, folder):
                # The successor has taken over the listeners and has requested the child to finish its
                # connections.
                child.wait()
                return True
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=_POLL_S)
    finally:
        if child is not None and child.poll() is None:
            child.kill()
            child.wait()
        (folder / _STANDBY).unlink(missing_ok=True)


def _wait(*pids: int) -> None:
    """Wait until one of the processes has ended."""
    with ExitStack() as stack:
        poll = select.poll()
        try:
            for pid in pids:
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                poll.register(descriptor, select.POLLIN)
        except ProcessLookupError:
            return
        except OSError:  # an older kernel, or a container runtime that does not allow it
            while all(_runs(pid) for pid in pids):
                time.sleep(_POLL_S)
            return
        poll.poll()


def _runs(pid: int) -> bool:
    """Return whether the process exists and has not ended."""
    state, _ = _stat(pid)
    return state not in ("Z", "X")


def _stat(pid: int) -> tuple[str, int]:
    """Return state and parent of the process, "X" and 0 if there is none."""
    try:
        state, parent, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "X", 0
    return state, int(parent)


def _is_haproxy(pid: int, folder: Path) -> bool:
    """Return whether the process is a HAProxy with this folder's configuration."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.startswith(os.fsencode(folder)) for word in words) and _runs(pid)


def _read(file: Path) -> Serving | None:
    try:
        return Serving(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):  # also a file of another version
        return None


def _write(file: Path, process: Serving) -> None:
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(asdict(process)))
    new.replace(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
