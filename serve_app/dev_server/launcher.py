"""Launcher of `make serve`: starts a single-machine Ray cluster with the application, and stops it.

It runs `ray start --head --block` as a child of a guard process, deploys through Serve's REST API, and waits
for the first response. The guard ends every started process when the launcher stops or is killed.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from serve_app.cpu_limits import usable_cpus
from serve_app.dev_server import guard, loopback
from serve_app.dev_server.preconditions import (
    LOOPBACK,
    LocalError,
    interpreter,
    require_loopback,
    require_model,
    require_ports,
)
from serve_app.dev_server.watch import why_it_ended
from serve_app.errors import ServiceError
from serve_app.haproxy.binary import find_binary
from serve_app.http.api_keys import configured_keys
from serve_app.ray_environment import HAPROXY, ONE_HOP
from serve_app.settings import child_environment, settings_of
from serve_app.tracebacks import last_error

__all__ = ["CONFIG", "ROOT", "LocalError", "Plan", "free_port", "serving", "started"]

_PACKAGE = Path(__file__).parents[1]
CONFIG = _PACKAGE / "config.yaml"
ROOT = _PACKAGE.parent

_APPLICATION = "serve_app.app"
_NAME = "sentiment"
_START_TIMEOUT_S = 180.0
_DEPLOY_TIMEOUT_S = 300.0
_FREE_PORTS = range(20_000, 30_000)
_POLL_S = 0.5
"""Poll interval during the start; polling uses CPU time that the start needs."""
_FIRST_REQUEST = {"inputs": ["I love this cream", "It ruined my skin"]}


_given_ports: set[int] = set()
"""Ports that `free_port` has returned, and those of the plans: nobody may listen on them yet."""


def free_port() -> int:
    """Return a TCP port that is not in use and that this process has not been given before.

    Neither Linux nor Ray allocates ports from its range: Linux allocates 32768 and above for connections and
    for port 0, Ray's workers use 10002 to 19999, and Serve's replicas 30000 to 31000.
    """
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        if port in _given_ports:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _given_ports.add(port)
            return port
    raise LocalError(
        f"no TCP port from {_FREE_PORTS.start} to {_FREE_PORTS.stop - 1} is free; stop a process that uses "
        "one"
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Configuration of a local service.

    Attributes:
        model: URI of the model; None for the model of the settings.
        host: Address that the service listens on; everything else listens on the loopback interface.
        insecure: Whether the service may listen on a non-loopback address without API keys.
        port: Port of the service.
        dashboard_port: Port of the Ray dashboard, whose API also deploys the application.
        replicas: Number of replicas; they share the CPUs evenly.
        cpus: Number of CPUs of the cluster; by default those that this process may use.
        metrics_port: Port of Ray's Prometheus endpoint; 0 is replaced by a free one.
        environment: Further environment variables for Ray and the replicas, such as `SENTIMENT_*`.
        import_path: Import path of the application.
        one_hop: Whether to use direct ingress; False keeps Serve's own proxy, which is used
            where there is no HAProxy.
        ray_options: Further options of `ray start`.
        config: Top-level changes to the Serve configuration.
        folder: Working folder of Ray; by default the current one. Code in it is imported first.
    """

    model: str | None = None
    host: str = loopback.HOST
    insecure: bool = False
    port: int = 8000
    dashboard_port: int = 8265
    replicas: int = 1
    cpus: int = field(default_factory=usable_cpus)
    metrics_port: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    import_path: str = f"{_APPLICATION}:app"
    one_hop: bool = field(default_factory=lambda: find_binary() is not None)
    ray_options: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def __post_init__(self) -> None:
        _given_ports.update((self.port, self.dashboard_port, self.metrics_port))
        if not self.metrics_port:
            object.__setattr__(self, "metrics_port", free_port())

    @property
    def url(self) -> str:
        """URL of the service."""
        return f"http://localhost:{self.port}"

    @property
    def applications(self) -> str:
        """URL of Serve's REST API for applications."""
        return f"{self.dashboard}/api/serve/applications/"

    @property
    def dashboard(self) -> str:
        """URL of the Ray dashboard."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def metrics(self) -> str:
        """URL of the node's Prometheus endpoint."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"


@dataclass(frozen=True, slots=True)
class LiveService:
    """Running service that has answered a request.

    Attributes:
        first: The first response, to the two texts of the README.
        node: The process that ends when Ray ends.
    """

    first: dict[str, Any]
    node: psutil.Process

    def wait(self, plan: Plan) -> str:
        """Wait until the service ends, and return the reason."""
        with httpx.Client() as client:
            return why_it_ended(self.node, plan.applications, _NAME, client)


@contextmanager
def serving(plan: Plan, on_progress: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Run the service while the block runs; see `started`.

    Yields:
        The first response, to the two texts of the README.
    """
    with started(plan, on_progress) as service:
        yield service.first


@contextmanager
def started(plan: Plan, on_progress: Callable[[str], None]) -> Iterator[LiveService]:
    """Run the service while the block runs.

    Args:
        plan: Configuration of the service.
        on_progress: Called with one line per step.

    Yields:
        The service, which has answered a request.

    Raises:
        LocalError: A port is in use, the service would be reachable by others without API keys, Ray did not
            start, or the application was not deployed.
    """
    headers = _key_headers(plan)
    if not (headers or plan.insecure):
        require_loopback(plan.host)
    require_ports(plan.port, plan.dashboard_port, plan.metrics_port)
    on_progress("downloading and checking the model")
    require_model(plan.model)
    # Not Ray's default folder, in which other programs look for a cluster to connect to. In /tmp, because the
    # paths of Unix sockets must be short and TMPDIR may be long.
    folder = Path(tempfile.mkdtemp(prefix="sentiment-", dir="/tmp"))
    log = folder / "ray.log"
    on_progress(f"starting Ray and {'HAProxy' if plan.one_hop else 'its own proxy'}")
    node = _start_ray(plan, log, folder)
    failed = False
    try:
        with httpx.Client() as client:
            _wait_for_dashboard(client, plan, node, log)
            on_progress("deploying the model")
            _deploy(client, plan)
            first = _first_answer(client, plan, node, on_progress, headers)
        yield LiveService(first, node)
    except LocalError as error:
        failed = True
        raise LocalError(f"{error}\nlogs: {folder}") from error
    finally:
        on_progress("stopping")
        guard.end(node, folder)
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _key_headers(plan: Plan) -> dict[str, str]:
    """Return a header with a valid key if keys are configured. Raises LocalError if they are not valid."""
    try:
        keys = list(configured_keys(settings_of(plan.environment)))
    except ServiceError as error:
        raise LocalError(str(error)) from error
    return {"authorization": f"Bearer {keys[0]}"} if keys else {}


def _start_ray(plan: Plan, log: Path, folder: Path) -> psutil.Popen:
    python = interpreter(folder)
    environment = child_environment(
        {
            **(ONE_HOP if plan.one_hop else {}),
            **loopback.ENVIRONMENT,
            **({} if plan.host in LOOPBACK else {"HAPROXY_HOST": plan.host}),
            "RAY_SERVE_HAPROXY_BINARY_PATH": str(HAPROXY),
            "HAPROXY_PYTHON": python,
            # Separate files and ports for this cluster's HAProxy: another cluster may run on the machine.
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            # Serve's proxies set SO_REUSEPORT: with a shared port, requests that arrive before HAProxy knows
            # the replica could be answered by another cluster's model.
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
            # Report a replica that cannot start after the first attempt instead of the third.
            "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1",
            # All of Ray listens on the loopback interface only, so no token is needed.
            "RAY_AUTH_MODE": "disabled",
            # Ray's default of 15 is for background jobs.
            "RAY_worker_niceness": "0",
            # Serve's controller loops five times per second instead of ten, to leave CPU time for the model.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.2",
            # Ray starts worker processes in advance; they import these modules while they wait for a replica.
            "RAY_preload_python_modules": f"{loopback.MODULE},{_APPLICATION}",
            "SENTIMENT_REPLICAS": str(plan.replicas),
            "SENTIMENT_REPLICA_CPUS": str(plan.cpus / plan.replicas),
            **plan.environment,
        },
        path=ROOT,
    )
    command = [python, "-m", guard.__name__, str(folder)]
    command += [python, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--port=0", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
    command += [f"--dashboard-port={plan.dashboard_port}", f"--metrics-export-port={plan.metrics_port}"]
    command += [f"--num-cpus={plan.cpus}", f"--temp-dir={folder}/ray"]
    command += [f"--ray-client-server-port={free_port()}"]
    # With the default port, another Ray on the machine would hold it, and jobs would find no agent here.
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    # The log monitor copies logs to drivers; there are none here.
    command += ["--disable-usage-stats", "--include-log-monitor=false", *plan.ray_options]
    with log.open("wb") as output:
        return psutil.Popen(
            command,
            cwd=plan.folder,
            env=environment,
            stdin=subprocess.PIPE,  # closes when this process ends, which the guard waits for
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must reach only this process, which stops the others in order
        )


def _wait_for_dashboard(client: httpx.Client, plan: Plan, node: psutil.Process, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not _runs(node):
            break
        try:
            answer = client.get(plan.applications, timeout=5)
            if answer.is_success:
                return
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise LocalError(
                    "the Ray dashboard requires a token because RAY_AUTH_MODE is set to token; unset it, or "
                    "set it to disabled (the dashboard listens on 127.0.0.1 only)"
                )
        except httpx.TransportError:
            pass
        time.sleep(_POLL_S)
    raise LocalError(f"Ray did not start; its output:\n{log.read_text(errors='replace')[-2000:]}")


def _deploy(client: httpx.Client, plan: Plan) -> None:
    config = yaml.safe_load(CONFIG.read_text()) | plan.config
    # Only HAProxy listens on the configured host; with direct ingress the replicas listen on the loopback
    # interface.
    config["http_options"] |= {"host": loopback.HOST if plan.one_hop else plan.host, "port": plan.port}
    config["applications"][0]["import_path"] = plan.import_path
    if plan.model is not None:
        config["applications"][0]["args"]["model"] = plan.model
    answer = client.put(plan.applications, json=config, timeout=60)
    if not answer.is_success:
        raise LocalError(f"Serve rejected the configuration {CONFIG}: {last_error(answer.text)}")


def _first_answer(
    client: httpx.Client,
    plan: Plan,
    node: psutil.Process,
    on_progress: Callable[[str], None],
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """Wait until the service answers a request, and return the response."""
    began = time.monotonic()
    reported = ""
    while time.monotonic() < began + _DEPLOY_TIMEOUT_S:
        if not _runs(node):
            raise LocalError("Ray ended while the model was being deployed")
        state, message = _state(client, plan)
        if state == "DEPLOY_FAILED":
            raise LocalError(f"the model was not deployed: {message}")
        if state != reported:
            on_progress(f"application: {state.lower().replace('_', ' ')}")
            reported = state
        if state == "RUNNING":
            try:
                answer = client.post(
                    f"{plan.url}/v1/classify", json=_FIRST_REQUEST, headers=headers, timeout=10
                )
                if answer.is_success:
                    first: dict[str, Any] = answer.json()
                    return first
            except httpx.TransportError:
                pass
        time.sleep(_POLL_S)
    raise LocalError(
        f"no answer from {plan.url} within {_DEPLOY_TIMEOUT_S:.0f} s; the last state was {reported}"
    )


def _state(client: httpx.Client, plan: Plan) -> tuple[str, str]:
    """Return Serve's status and message of the application."""
    try:
        status = client.get(plan.applications, timeout=10).json()
    except httpx.TransportError:
        return "WAITING", ""
    application = status["applications"].get(_NAME, {})
    messages = [application.get("message", "")]
    messages += [deployment.get("message", "") for deployment in application.get("deployments", {}).values()]
    return application.get("status", "WAITING"), "\n".join(filter(None, messages))


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
