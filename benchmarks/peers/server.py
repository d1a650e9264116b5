"""Running server of a peer: its processes, their memory and CPU time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.http import Connection, HttpResponse
from benchmarks.peers.catalog import PeerSpec
from benchmarks.peers.environments import ROOT, PeerError
from serve_app.dev_server.launcher import free_port

START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 30.0
_SETTLE_S = 2.0
"""Time after SIGCONT in which delayed timers, such as those of Ray, complete their work."""
_POLL_S = 0.5


class PeerServer:
    """Server that has answered a request; stopped (SIGSTOP) except during its turns."""

    def __init__(self, peer: PeerSpec, port: int, process: subprocess.Popen[bytes]) -> None:
        self.peer = peer
        self.url = f"http://127.0.0.1:{port}"
        self._child = process
        self._process = psutil.Process(process.pid)

    async def ask(self, connection: Connection, text: str) -> HttpResponse:
        """Send one text."""
        return await connection.post(self.peer.path, json.dumps(self.peer.body(text)).encode())

    def scores(self, answer: HttpResponse) -> dict[str, float]:
        """Return the scores by label of a response."""
        return self.peer.scores(answer.json())

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its processes, with those that have ended and were waited for."""
        total = 0.0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])
        return total

    @property
    def rss_mb(self) -> float:
        """Resident memory of all its processes in MB."""
        total = 0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 1e6

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let its processes run during the block."""
        self.resume()
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            for process in self._processes():
                with suppress(psutil.NoSuchProcess):
                    process.suspend()

    def resume(self) -> None:
        """Let its processes run."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def end(self) -> None:
        """End its processes."""
        processes = self._processes()
        self.resume()
        with suppress(psutil.NoSuchProcess):
            self._process.terminate()
        _, left = psutil.wait_procs(processes, timeout=_STOP_TIMEOUT_S)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_STOP_TIMEOUT_S)
        self._child.wait()

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def start(peer: PeerSpec, python: Path, model: Path, folder: Path, text: str) -> PeerServer:
    """Start a server and wait until it answers a text; its output goes to a file in the folder.

    Raises:
        PeerError: It ended, or has not answered within START_TIMEOUT_S.
    """
    port = free_port()
    home = (folder / f"{peer.name}-files").absolute()
    home.mkdir(parents=True, exist_ok=True)
    replaced: dict[str, Any] = {"port": port, "model": model.absolute(), "folder": home}
    command = [str(python.absolute()), *(word.format(**replaced) for word in peer.command)]
    variables = {name: value.format(**replaced) for name, value in peer.variables.items()}
    log = folder / f"{peer.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"} | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach only this process, which ends the servers in order
        )
    server = PeerServer(peer, port, process)
    try:
        _wait_for_answer(server, process, log, text)
    except BaseException:
        server.end()
        raise
    return server


def _wait_for_answer(server: PeerServer, process: subprocess.Popen[bytes], log: Path, text: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    reason = "no answer"
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise PeerError(f"it ended with {ended}: {_last_line(log)} ({log})")
        try:
            answer = asyncio.run(_ask_once(server, text))
            if answer.status == 200:
                server.scores(answer)
                return
            reason = f"status {answer.status}: {answer.body[:200]!r}"
        except (OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise PeerError(f"its answer has another form: {error!r}: {answer.body[:200]!r}") from error
        time.sleep(_POLL_S)
    raise PeerError(f"not ready after {START_TIMEOUT_S:.0f} s: {reason} ({log})")


async def _ask_once(server: PeerServer, text: str) -> HttpResponse:
    async with Connection(server.url) as connection:
        return await asyncio.wait_for(server.ask(connection, text), 30)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "no output"
