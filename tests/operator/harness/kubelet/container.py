"""Container: start, probes, end, and status for the API server."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.operator.harness.kubelet.timestamps import now

_POLL_S = 0.1
_DEAD_S = 10.0


class Container:
    """Container of a pod, through all its restarts.

    Args:
        spec: specification of the container.
        log: file that receives its output.
        launch: starts the command; returns its variables, and the parent of the container's first process.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        log: Path,
        launch: Callable[[], tuple[dict[str, str], subprocess.Popen[bytes]]],
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.log = log
        self.waiting = "ContainerCreating"
        self.message = ""
        self.is_started = "startupProbe" not in spec
        self.is_ready = False
        self.restarts = 0
        self._launch = launch
        self._variables: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._state: dict[str, Any] = {}
        self._last_state: dict[str, Any] = {}
        self._is_ending = threading.Event()

    def start(self) -> None:
        """Start the command, for the first time or again."""
        if self._process is not None:
            self.restarts += 1
            self._last_state = self._state
        self.is_started = "startupProbe" not in self.spec
        self.is_ready = "readinessProbe" not in self.spec and self.is_started
        self._variables, self._process = self._launch()
        self._state = {"running": {"startedAt": now()}}
        self.waiting = self.message = ""

    def poll(self) -> int | None:
        """Return the exit code; None while it is running, or before it has run."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        code = code if code >= 0 else 128 - code
        if "running" in self._state:
            self.is_ready = False
            reason = "Completed" if code == 0 else "Error"
            began = self._state["running"]["startedAt"]
            self._state = {
                "terminated": {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": now()}
            }
        return code

    @property
    def pid(self) -> int | None:
        """Return the process id of the container's first process in this machine's namespace."""
        if self._process is None or self._process.poll() is not None:
            return None
        with suppress(OSError):
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
            if children:
                return int(children.split()[0])
        return None

    def execute(self, command: list[str], timeout_s: float) -> tuple[int, str]:
        """Run a command in the container; return its exit code and output."""
        pid = self.pid
        if pid is None:
            return 1, "the container does not run"
        try:
            done = subprocess.run(
                [*enter(pid), *command],
                env=self._variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            return 1, f"no exit within {timeout_s:g} s"
        return done.returncode, done.stdout + done.stderr

    def end(self, grace_s: float) -> None:
        """Run preStop, then send SIGTERM, then SIGKILL after the grace period."""
        self._is_ending.set()
        deadline = time.monotonic() + grace_s
        hook = (self.spec.get("lifecycle") or {}).get("preStop") or {}
        if self.pid is not None and grace_s > 0:
            if "exec" in hook:
                self.execute(hook["exec"]["command"], grace_s)
            elif "sleep" in hook:
                self._wait(min(hook["sleep"]["seconds"], grace_s))
            self._signal(signal.SIGTERM)
            self._wait(deadline - time.monotonic())
        self._signal(signal.SIGKILL)
        self._wait(_DEAD_S)

    def kill(self, grace_s: float) -> None:
        """End this run of the container, as a failed liveness probe does; the pod may start it again."""
        self._signal(signal.SIGTERM)
        self._wait(grace_s)
        self._signal(signal.SIGKILL)

    def status(self, image: str) -> dict[str, Any]:
        """Return the status for containerStatuses."""
        self.poll()
        state = self._state
        if self.waiting:
            state = {"waiting": {"reason": self.waiting, "message": self.message}}
            if self._state:
                return self._described(image, state, self._state)
        return self._described(image, state, self._last_state)

    def _described(self, image: str, state: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": self.name,
            "image": image,
            "imageID": "",
            "ready": self.is_ready,
            "started": self.is_started and "running" in state,
            "restartCount": self.restarts,
            "state": state,
            "lastState": last,
        }

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait(self, longest_s: float) -> None:
        """Wait until the container has ended."""
        deadline = time.monotonic() + longest_s
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def enter(pid: int) -> list[str]:
    """Return the command prefix that runs a command in a process's container, in its working folder."""
    return ["nsenter", f"--target={pid}", "--mount", "--net", "--uts", "--pid", "--root", "--wd"]
