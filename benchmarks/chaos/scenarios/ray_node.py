"""Scenarios of the Ray node and its launcher: GCS killed without and with Redis, and launcher killed."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import psutil

from benchmarks.chaos.experiment import under_traffic
from benchmarks.chaos.processes import is_running, kill, wait_until
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.service import running
from benchmarks.chaos.verdict import ScenarioResult
from serve_app.dev_server.launcher import free_port

_END_S = 45.0
_BACK_S = 70.0
_CHILDREN_END_S = 5.0
"""Seconds after the launcher's end in which helper processes of Ray detect that their parent has ended."""
_GCS_AWAY_S = 5.0
_REDIS = "redis-server"
_CONTROLLER = "ServeController"
_PORT_OPTION = "--gcs_server_port="


def gcs_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill the GCS without Redis: the node cannot continue, and the launcher must end with exit code 1."""
    context.shared.close()
    result = ScenarioResult(name)
    with running() as service:
        launcher = service.launcher
        kill([service.processes.gcs])
        result.measures["exit_s"] = wait_until(lambda: not is_running(launcher), _END_S)
        code = launcher.wait(1) if not is_running(launcher) else None
        result.measures["wrong_exit_code"] = int(code != 1)
        wait_until(lambda: not service.processes.marked(), _CHILDREN_END_S, poll_s=0.25)
        result.measures["processes_left"] = len(service.processes.marked())
        result.notes.append(f"exit code {code}" if code is not None else "the launcher did not end")
    return result


def gcs_restarted(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill the GCS and start it again with the same command and its state in Redis, as KubeRay does."""
    if shutil.which(_REDIS) is None:
        return ScenarioResult(name, skipped=f"no {_REDIS} on the PATH")
    context.shared.close()
    with _redis() as address, running({"RAY_REDIS_ADDRESS": address}) as service:
        with under_traffic(service, name) as experiment:
            gcs, node = service.processes.gcs, service.processes.node
            environment, folder, port = gcs.environ(), gcs.cwd(), service.processes.gcs_port()
            command = [word for word in gcs.cmdline() if not word.startswith(_PORT_OPTION)]
            command.append(f"{_PORT_OPTION}{port}")
            # `ray start --block` would end the node; on a cluster, the head's pod is replaced instead.
            node.suspend()
            experiment.fault()
            kill([gcs])
            experiment.observe(_GCS_AWAY_S)
            successor = psutil.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            # Everything that needs the GCS must work again: it starts the successor of a killed controller.
            controller = service.processes.actor(_CONTROLLER)
            kill([controller])
            experiment.wait_until_whole(
                _BACK_S, also=lambda: service.processes.actors(_CONTROLLER) not in ([], [controller])
            )
        experiment.measure()
        if not is_running(successor):
            experiment.result.error = f"the second GCS ended with {successor.wait(1)}"
        kill([successor])
        successor.wait(5)
    return experiment.result


def parent_killed(context: ScenarioContext, name: str) -> ScenarioResult:
    """Kill the launcher with SIGKILL: no process that it started may remain."""
    context.shared.close()
    result = ScenarioResult(name)
    with running() as service:
        processes = [process for process in service.processes.descendants() if is_running(process)]
        kill([service.launcher])

        def left() -> list[psutil.Process]:
            known = {process.pid: process for process in [*processes, *service.processes.marked()]}
            return [process for process in known.values() if is_running(process)]

        result.measures["exit_s"] = wait_until(lambda: not left(), _END_S / 2, poll_s=0.25)
        result.measures["processes_left"] = len(left())
        names = ", ".join(sorted({process.name() for process in left()})) or "none"
        result.notes.append(f"{len(processes)} processes before, left: {names}")
        kill(left())
    return result


@contextmanager
def _redis() -> Iterator[str]:
    """Run a Redis server in memory for this scenario only, and yield its address."""
    port = free_port()
    command = [_REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with TemporaryDirectory(prefix="chaos-redis-") as folder:
        redis = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if wait_until(lambda: _listens(port), 10) == float("inf"):
                raise RuntimeError(f"{_REDIS} does not listen on port {port} after 10 s")
            yield f"127.0.0.1:{port}"
        finally:
            redis.terminate()
            redis.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
