"""Service under test: its launcher as a separate process, with two replicas and a prediction log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from benchmarks.chaos.prediction_log import FLUSH_S
from benchmarks.chaos.processes import MARK, ServiceProcesses, is_running, kill, wait_until
from cluster.rollout.errors import TargetError
from cluster.rollout.targets.serve_api import ServeTarget
from serve_app.dev_server.launcher import free_port
from serve_app.model import resolver
from train.model_uri import CACHE

REPLICAS = 2
_ROOT = Path(__file__).parents[2]
_STARTED = "is live"
"""Text that the launcher prints when the start is complete."""
_START_S = 120.0
_STOP_S = 40.0


class ServiceStartError(Exception):
    """Failure of the service under test to start."""


class ServiceProcess:
    """Running service.

    Attributes:
        launcher: process of `python -m serve_app`.
        url: address of the service.
        dashboard: address of the Ray dashboard.
        folder: folder that contains the following ones.
        model: folder of the bundle that is served.
        log: folder of the prediction log.
        processes: processes of the service.
        target: Serve's API.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.model, self.log = folder, folder / "model", folder / "log"
        self.output = folder / "output.txt"
        copy_builtin_model(self.model)
        self.log.mkdir()
        port, dashboard_port, mark = free_port(), free_port(), uuid.uuid4().hex
        self.url, self.dashboard = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{dashboard_port}"
        variables = {
            "SENTIMENT_LOG_URI": str(self.log),
            "SENTIMENT_LOG_FLUSH_S": str(FLUSH_S),
            MARK: mark,
            **environment,
        }
        command = [sys.executable, "-m", "serve_app", f"--port={port}", f"--dashboard-port={dashboard_port}"]
        command += [f"--replicas={REPLICAS}", f"--model={self.model}"]
        with self.output.open("wb") as output:
            self.launcher = psutil.Popen(
                command,
                cwd=_ROOT,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes = ServiceProcesses(self.launcher, mark)
        self._client = httpx.Client(timeout=10)
        self.target = ServeTarget(self.dashboard, client=self._client)

    def is_whole(self, replicas: int = REPLICAS) -> bool:
        """Return whether all replicas and HAProxy run, Serve is settled, and a request is answered."""
        try:
            state = self.target.read()
            return (
                state.settled
                and state.replicas == len(self.processes.replicas) == replicas
                and bool(self.processes.haproxies)
                and self._client.post(f"{self.url}/v1/classify", json={"inputs": "fine"}).is_success
            )
        except (TargetError, httpx.HTTPError, LookupError, psutil.Error):
            return False

    def wait_until_whole(self, timeout_s: float, *, replicas: int = REPLICAS) -> float:
        """Return the seconds until `is_whole` holds; infinite after the timeout."""
        return wait_until(lambda: self.is_whole(replicas), timeout_s, poll_s=0.25)

    def wait_until_live(self) -> None:
        """Wait until the launcher has started the service.

        Raises ServiceStartError, with the output, if it fails.
        """
        deadline = time.monotonic() + _START_S
        while _STARTED not in self.output.read_text(errors="replace") or not self.is_whole():
            if not is_running(self.launcher) or time.monotonic() > deadline:
                raise ServiceStartError(f"the service did not start; its output:\n{self.output_tail()}")
            time.sleep(0.25)

    def output_tail(self) -> str:
        """Return the end of the launcher's output."""
        return self.output.read_text(errors="replace")[-2000:]

    def version(self) -> str:
        """Return the model version of a new answer."""
        answer = self._client.post(f"{self.url}/v1/classify", json={"inputs": "fine"})
        answer.raise_for_status()
        return answer.headers["x-model-version"]

    def model_state(self) -> str:
        """Return the model state that a replica reports: "live", "loading" or "failed"."""
        state: str = self._client.get(f"{self.url}/v1/model").raise_for_status().json()["state"]
        return state

    def stop(self) -> None:
        """Stop everything that was started: in order, and then kill the remaining processes."""
        with suppress(psutil.NoSuchProcess):
            for process in [self.launcher, *self.processes.descendants()]:
                if process.status() == psutil.STATUS_STOPPED:
                    process.resume()
        if is_running(self.launcher):
            self.launcher.terminate()
            with suppress(psutil.TimeoutExpired):
                self.launcher.wait(_STOP_S)
        kill([*self.processes.marked(), *self.processes.descendants(), self.launcher])
        self.launcher.wait(5)
        self._client.close()


@contextmanager
def running(environment: Mapping[str, str] | None = None) -> Iterator[ServiceProcess]:
    """Run a service while the block runs. Raises ServiceStartError if it does not start."""
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        service = ServiceProcess(Path(folder), environment or {})
        try:
            service.wait_until_live()
            yield service
        finally:
            service.stop()


class SharedService:
    """One service for many scenarios: started on first use, and again after a fault has broken it."""

    def __init__(self) -> None:
        self._context: AbstractContextManager[ServiceProcess] | None = None
        self._service: ServiceProcess | None = None

    def get(self) -> ServiceProcess:
        """Return a service for which `is_whole` holds."""
        if self._service is not None and self._service.wait_until_whole(10) == float("inf"):
            self.close()
        if self._service is None:
            self._context = running()
            self._service = self._context.__enter__()
        return self._service

    def close(self) -> None:
        """Stop the service if it runs."""
        if self._context is not None:
            context, self._context, self._service = self._context, None, None
            context.__exit__(None, None, None)


def copy_builtin_model(folder: Path) -> None:
    """Copy the built-in model's bundle into a folder."""
    shutil.copytree(resolver.fetch("builtin:", cache_dir=CACHE).folder, folder)
