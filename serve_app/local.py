"""`make serve`: a Ray cluster of one machine with the application on it, owned from start to end.

It starts `ray start --head --block` under a guard, deploys over Serve's REST API, and waits for the first
real answer. The guard ends every process that was started when this one stops, and also when it dies.
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
from serve_app.keys import configured_keys
from serve_app.settings import child_environment, settings_of

__all__ = ["CONFIG", "HAPROXY", "ONE_HOP", "ROOT", "LocalError", "Plan", "free_port", "serving", "started"]

CONFIG = Path(__file__).with_name("config.yaml")
ROOT = Path(__file__).parent.parent

ONE_HOP = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_DEFAULT_HTTP_HOST": "0.0.0.0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.shedding:middlewares",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    "RAY_SERVE_HAPROXY_MAXCONN": "8192",
    "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
    "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
}
"""Environment of every Ray node: HAProxy hands requests straight to the replica that holds the model, and one
with a full queue refuses them at once. HAProxy does not tell a Ray process of each request: the replica
counts them, and HAProxy's own Prometheus endpoint has those that reach no replica. Serve writes each line of
a replica's log at once: it would keep a thousand, which a killed replica loses, and write all between two
requests. Connections and silence of either side are bounded; a proxy that is gone is replaced after three of
its health checks."""

HAPROXY = Path(__file__).with_name("haproxy") / "haproxy"
"""RAY_SERVE_HAPROXY_BINARY_PATH: HAProxy with time-outs, problem documents and a standby."""

_APPLICATION = "serve_app.app"
_NAME = "sentiment"
_START_TIMEOUT_S = 180.0
_DEPLOY_TIMEOUT_S = 300.0
_FREE_PORTS = range(20_000, 30_000)
_POLL_S = 0.5
"""Between two looks at what starts: looking takes time of the cores that it starts on."""
_QUESTION = {"inputs": ["I love this cream", "It ruined my skin"]}


def free_port() -> int:
    """Return a TCP port that nobody listens on now.

    It is from a range of which neither Linux nor Ray gives ports to others before the port is used: Linux
    takes those from 32768 on for connections and for whoever binds port 0, Ray's workers 10002 to 19999,
    Serve's replicas 30000 to 31000.
    """
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise LocalError(f"no TCP port from {_FREE_PORTS.start} to {_FREE_PORTS.stop - 1} is free; end a process")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start.

    Attributes:
        model: URI of the model; None for the settings' choice.
        host: address that the service listens on; all else is on the loopback interface.
        insecure: whether the service may listen on another address than the loopback one without API keys.
        port: of the service.
        dashboard_port: of the Ray dashboard, which also takes the deployment.
        replicas: of the application; the CPUs are shared out evenly.
        cpus: of the cluster; each replica's threads are its share.
        metrics_port: of Ray's Prometheus endpoint; a free one by default.
        environment: more variables for Ray and the replicas, such as `SENTIMENT_*`.
        import_path: of the application.
        one_hop: False leaves Serve's own proxy in front, as where there is no HAProxy.
        ray_options: more options of `ray start`.
        config: of Serve, changed at its top level.
        folder: that Ray works in; by default the present one. What code is in it goes before all other.
    """

    model: str | None = None
    host: str = loopback.HOST
    insecure: bool = False
    port: int = 8000
    dashboard_port: int = 8265
    replicas: int = 1
    cpus: int = field(default_factory=lambda: psutil.cpu_count() or 1)
    metrics_port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    import_path: str = f"{_APPLICATION}:app"
    one_hop: bool = field(default_factory=lambda: find_binary() is not None)
    ray_options: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"http://localhost:{self.port}"

    @property
    def applications(self) -> str:
        """Where Serve takes and tells its applications."""
        return f"{self.dashboard}/api/serve/applications/"

    @property
    def dashboard(self) -> str:
        """Where the Ray dashboard answers."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def metrics(self) -> str:
        """Where Prometheus finds every metric of the node."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"


@dataclass(frozen=True, slots=True)
class LiveService:
    """A service that has answered.

    Attributes:
        first: the first answer, to the two texts of the README.
        node: the process that ends when Ray does.
    """

    first: dict[str, Any]
    node: psutil.Process

    def wait(self, plan: Plan) -> str:
        """Wait until the service has ended by itself, and return why."""
        with httpx.Client() as client:
            return why_it_ended(self.node, plan.applications, _NAME, client)


@contextmanager
def serving(plan: Plan, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Run the service while the block runs; see `started`.

    Yields:
        The first answer, to the two texts of the README.
    """
    with started(plan, tell) as service:
        yield service.first


@contextmanager
def started(plan: Plan, tell: Callable[[str], None]) -> Iterator[LiveService]:
    """Run the service while the block runs.

    Args:
        plan: what to start.
        tell: told each step, one line.

    Yields:
        The service, which has answered.

    Raises:
        LocalError: a port is taken, the service would be open to all, Ray did not start, or the application
            did not deploy.
    """
    headers = _key_headers(plan)
    if not (headers or plan.insecure):
        require_loopback(plan.host)
    require_ports(plan.port, plan.dashboard_port)
    tell("fetching and checking the model")
    require_model(plan.model)
    # Not Ray's own folder, where other programs find the cluster that they connect to. The paths of its
    # sockets must be short, whatever TMPDIR is.
    folder = Path(tempfile.mkdtemp(prefix="sentiment-", dir="/tmp"))
    log = folder / "ray.log"
    tell(f"starting Ray and {'HAProxy' if plan.one_hop else 'its own proxy'}")
    node = _start_ray(plan, log, folder)
    failed = False
    try:
        with httpx.Client() as client:
            _wait_for_dashboard(client, plan, node, log)
            tell("deploying the model")
            _deploy(client, plan)
            first = _first_answer(client, plan, node, tell, headers)
        yield LiveService(first, node)
    except LocalError as error:
        failed = True
        raise LocalError(f"{error}\nlogs: {folder}") from error
    finally:
        tell("stopping")
        guard.end(node, folder)
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)


def _key_headers(plan: Plan) -> dict[str, str]:
    """A valid key as a header, where keys are set. Raises LocalError if something is wrong with them."""
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
            # HAProxy's files and ports are this cluster's own: another one may run on the machine.
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            # Serve's proxies share a port with any other that would: what comes before HAProxy knows the
            # replica could be answered by another cluster's model.
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
            # A replica that cannot start is told at once, not after its third try.
            "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1",
            # All of Ray is on the loopback interface; without this it would ask for a token.
            "RAY_AUTH_MODE": "disabled",
            # Ray's 15 is for jobs beside which somebody works; this one is waited for.
            "RAY_worker_niceness": "0",
            # Serve's controller looks five times a second, not ten: the model has a use for the cores.
            "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.2",
            # Ray starts the replica's process before there is a replica: it imports while it waits for one.
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
    # Else another Ray on the machine has this port, and jobs find no agent here.
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    # The log monitor copies logs to drivers, of which there are none here.
    command += ["--disable-usage-stats", "--include-log-monitor=false", *plan.ray_options]
    with log.open("wb") as output:
        return psutil.Popen(
            command,
            cwd=plan.folder,
            env=environment,
            stdin=subprocess.PIPE,  # held until this process ends, which is what the guard waits for
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then ends the others in order
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
                    "the Ray dashboard asks for a token, for RAY_AUTH_MODE is set to token; unset it, or set "
                    "it to disabled (the dashboard listens on 127.0.0.1 alone)"
                )
        except httpx.TransportError:
            pass
        time.sleep(_POLL_S)
    raise LocalError(f"Ray did not start; it said:\n{log.read_text(errors='replace')[-2000:]}")


def _deploy(client: httpx.Client, plan: Plan) -> None:
    config = yaml.safe_load(CONFIG.read_text()) | plan.config
    # HAProxy listens for others, where it should; replicas and Serve's own proxy for HAProxy alone.
    config["http_options"] |= {"host": loopback.HOST if plan.one_hop else plan.host, "port": plan.port}
    config["applications"][0]["import_path"] = plan.import_path
    if plan.model is not None:
        config["applications"][0]["args"]["model"] = plan.model
    answer = client.put(plan.applications, json=config, timeout=60)
    if not answer.is_success:
        raise LocalError(f"Serve refused the configuration {CONFIG}: {answer.text[:1000]}")


def _first_answer(
    client: httpx.Client,
    plan: Plan,
    node: psutil.Process,
    tell: Callable[[str], None],
    headers: Mapping[str, str],
) -> dict[str, Any]:
    """Wait until the service answers a real question."""
    began = time.monotonic()
    told = ""
    while time.monotonic() < began + _DEPLOY_TIMEOUT_S:
        if not _runs(node):
            raise LocalError("Ray ended while the model was being deployed")
        state, message = _state(client, plan)
        if state == "DEPLOY_FAILED":
            raise LocalError(f"the model was not deployed: {message}")
        if state != told:
            tell(f"application: {state.lower().replace('_', ' ')}")
            told = state
        if state == "RUNNING":
            try:
                answer = client.post(f"{plan.url}/v1/classify", json=_QUESTION, headers=headers, timeout=10)
                if answer.is_success:
                    first: dict[str, Any] = answer.json()
                    return first
            except httpx.TransportError:
                pass
        time.sleep(_POLL_S)
    raise LocalError(f"no answer from {plan.url} within {_DEPLOY_TIMEOUT_S:.0f} s; the last state was {told}")


def _state(client: httpx.Client, plan: Plan) -> tuple[str, str]:
    """The application's status and message, as Serve tells them."""
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
