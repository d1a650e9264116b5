"""Tests of HAProxy as Ray starts it through this service's program: its errors, time-outs and failure."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import pytest

from serve_app.dev_server.launcher import free_port
from serve_app.haproxy.configuration import HEAD_TIMEOUT_S
from serve_app.ray_environment import HAPROXY, ONE_HOP
from tests.steady_client import Client

ACTOR = Path(__file__).with_name("proxy_actor.py")
RAYLET = (sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])")
PATIENCE_S = 60
STALLED = 4200
"""More connections than Ray's limit for a HAProxy, 4096."""
MARGIN_S = 5
OUTAGE_S = 2
"""Maximum seconds without an answer when HAProxy dies."""


class Replica(BaseHTTPRequestHandler):
    """Replica whose path selects its behavior: answer, end without an answer, or exceed the time-out."""

    # HTTP/1.0: each request has its own connection. If a reused connection breaks, HAProxy also closes the
    # connection to the client, without an answer, so that the client may repeat the request.

    def do_GET(self) -> None:
        if self.path == "/dies":
            self.close_connection = True
            return
        if self.path == "/slow":
            self.server.slow.wait(PATIENCE_S)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore that HAProxy closed the connection: the test has killed it."""


@pytest.fixture(scope="module")
def replica() -> Iterator[int]:
    """Yield the port of a replica."""
    with running_replica("127.0.0.1") as port:
        yield port


@contextmanager
def running_replica(host: str) -> Iterator[int]:
    server = Server((host, 0), Replica)
    server.slow = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_address[1]
    server.slow.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


class Actor:
    """Proxy actor whose HAProxy listens on `port` with its files in `folder`.

    It leads a process group, as Ray's workers do, and its parent has the raylet's role.

    Args:
        folder: Folder of HAProxy's files.
        port: Port of HAProxy.
        parent: Command that runs the actor as its child, if the parent must not be this process.
        environment: Additional environment variables.
    """

    def __init__(self, folder: Path, port: int, *, parent: Sequence[str] = (), **environment: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder, self.port = folder, port
        known = {"RAY_SERVE_HAPROXY_BINARY_PATH": str(HAPROXY), "HAPROXY_PYTHON": sys.executable}
        self.process = subprocess.Popen(
            [*parent, sys.executable, str(ACTOR), str(folder), *map(str, (port, free_port(), free_port()))],
            process_group=0,
            env={**os.environ, **ONE_HOP, **known, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.haproxy = self._answer()

    def serve(self, *replicas: int | str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, replicas)) + "\n")
        self.process.stdin.flush()
        self.haproxy = self._answer()
        if replicas:
            until(lambda: httpx.get(self.url).status_code == 200)

    def _answer(self) -> int:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready
        return int(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE_S)
        self.process.stdout.close()

    def kill(self) -> None:
        """Kill the actor with its process group, as the raylet kills what is left of the group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def of(folder: Path) -> list[psutil.Process]:
    """Return the processes that use the folder: HAProxy and its standby."""
    every = psutil.process_iter(["cmdline"])
    return [one for one in every if any(str(folder) in word for word in one.info["cmdline"] or ())]


@pytest.fixture
def actors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Actor]]:
    """Yield a function that starts proxy actors of one node."""
    folder, port = tmp_path_factory.mktemp("h"), free_port()
    started: list[Actor] = []

    def start(**environment: str) -> Actor:
        started.append(Actor(folder, port, **environment))
        return started[-1]

    yield start
    for actor in started:
        if actor.process.poll() is None:
            actor.stop()
    left = of(folder)
    for process in left:
        process.kill()
    psutil.wait_procs(left)


def test_what_haproxy_answers_itself_is_a_problem(actors: Callable[..., Actor], replica: int) -> None:
    actor = actors(RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S="1", RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S="1")

    def problem(path: str, status: int) -> httpx.Response:
        answer = httpx.get(actor.url + path, headers={"X-Request-ID": "mine-1"}, timeout=PATIENCE_S)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        body = answer.json()
        assert body["status"] == status and body["title"] and body["detail"]
        assert body["type"].startswith("urn:sentiment-service:")
        assert body["request_id"] == answer.headers["x-request-id"] == "mine-1"
        return answer

    # The cases are: no application yet, a replica that does not listen, one that fails, and one that is slow.
    assert int(problem("/", 503).headers["retry-after"]) > 0
    actor.serve(replica)
    problem("/dies", 502)
    problem("/slow", 504)
    with socket.create_connection(("127.0.0.1", actor.port), timeout=PATIENCE_S) as stalled:
        stalled.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\n12345")
        said = stalled.recv(65536).decode()
    assert " 400 " in said and "application/problem+json" in said and '"status": 400' in said
    unsafe = httpx.get(f"{actor.url}/dies", headers={"X-Request-ID": '"}<script>'})
    assert re.fullmatch(r"[0-9a-f-]{36}", unsafe.json()["request_id"])
    assert actor.process.stdin is not None
    actor.process.stdin.write(f"{free_port()}\n")
    actor.process.stdin.flush()
    until(lambda: httpx.get(actor.url).status_code == 503)
    assert int(problem("/", 503).headers["retry-after"]) > 0


@pytest.mark.parametrize("own_address", ["127.0.0.2", "127.0.0.1"])  # Ray writes the second
def test_a_pod_is_healthy_while_its_own_replica_is_up(actors: Callable[..., Actor], own_address: str) -> None:
    """Check that a pod without a replica answers through other pods' replicas, but is not healthy."""
    actor = actors(HAPROXY_OWN_ADDRESS="127.0.0.2")

    def health() -> int:
        return httpx.get(f"{actor.url}/-/healthz").status_code

    with running_replica("127.0.0.3") as others:
        with running_replica(own_address) as own:
            actor.serve(f"127.0.0.3:{others}")
            assert (health(), httpx.get(actor.url).status_code) == (503, 200)
            actor.serve(f"127.0.0.3:{others}", f"{own_address}:{own}")
            until(lambda: health() == 200)
        until(lambda: health() == 503)  # HAProxy's own check has failed
        assert httpx.get(actor.url).status_code == 200


def test_haproxy_that_dies_is_replaced_at_once_and_by_ray_without_a_gap(
    actors: Callable[..., Actor], replica: int
) -> None:
    actor = actors()
    actor.serve(replica)
    with Client(actor.url) as client:
        until(lambda: client.answers > 10)
        os.kill(actor.haproxy, 9)
        answers = client.answers
        until(lambda: client.answers > answers + 10)
        assert client.longest_s <= OUTAGE_S
        assert set(client.statuses) <= {0}
        # The standby's HAProxy dies, too.
        (standby,) = [one for one in of(actor.folder) if one.name() == "haproxy"]
        standby.kill()
        answers = client.answers
        until(lambda: client.answers > answers + 10)
        assert client.longest_s <= OUTAGE_S
        # Ray's health check queries the admin socket three times without success, then replaces the actor, as
        # here. The new actor knows no replica at first.
        until(lambda: not is_healthy(actor))
        time_of_death = time.monotonic()
        until(lambda: time.monotonic() > time_of_death + 4)
        client.statuses.clear()
        actor.kill()
        successor = actors()
        answers = client.answers
        until(lambda: client.answers > answers + 10)
        successor.serve(replica)
        answers = client.answers
        until(lambda: client.answers > answers + 10)
    assert client.statuses == []
    until(lambda: [one.pid for one in of(actor.folder) if one.name() == "haproxy"] == [successor.haproxy])


def is_healthy(actor: Actor) -> bool:
    """Return whether the admin socket answers, as Ray's health check of a proxy does."""
    with socket.socket(socket.AF_UNIX) as admin:
        try:
            admin.connect(f"{actor.folder}/admin.sock")
            return True
        except OSError:
            return False


def test_a_proxy_actor_that_dies_takes_no_request_with_it(actors: Callable[..., Actor], replica: int) -> None:
    actor = actors()
    actor.serve(replica)
    with Client(actor.url) as client:
        until(lambda: client.answers > 10)
        actor.kill()
        assert psutil.Process(actor.haproxy).status() != psutil.STATUS_ZOMBIE
        successor = actors()
        successor.serve(replica)
        answers = client.answers
        until(lambda: client.answers > answers + 10)
    assert client.statuses == []
    assert successor.haproxy != actor.haproxy


def test_haproxy_that_ends_with_its_actor_is_replaced_until_a_successor_comes(
    actors: Callable[..., Actor], replica: int
) -> None:
    """Kill the actor and its HAProxy, as the kernel does when it has no memory left."""
    actor = actors()
    actor.serve(replica)
    with Client(actor.url) as client:
        until(lambda: client.answers > 10)
        actor.kill()
        os.kill(actor.haproxy, 9)
        answers = client.answers
        until(lambda: client.answers > answers + 10)
        time_of_death = time.monotonic()
        until(lambda: time.monotonic() > time_of_death + 4)  # longer than an intended stop takes
        assert client.longest_s <= OUTAGE_S
        client.statuses.clear()
        successor = actors()
        successor.serve(replica)
        answers = client.answers
        until(lambda: client.answers > answers + 10)
    assert client.statuses == []


def test_haproxy_ends_when_its_raylet_is_gone(tmp_path: Path) -> None:
    """Kill the actor and its parent: nobody can start a successor, and the port must become free."""
    raylet = Actor(tmp_path, free_port(), parent=RAYLET)
    raylet.kill()
    try:
        until(lambda: of(tmp_path) == [])
    finally:
        for process in of(tmp_path):
            process.kill()


def test_a_proxy_that_is_stopped_leaves_nothing(actors: Callable[..., Actor], replica: int) -> None:
    actor = actors()
    actor.serve(replica)
    actor.stop()
    until(lambda: of(actor.folder) == [])
    with pytest.raises(httpx.ConnectError):
        httpx.get(actor.url)


def test_stalled_connections_end_and_hold_nobody_up(actors: Callable[..., Actor], replica: int) -> None:
    """Open 4,200 connections that never finish the head of their request."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * STALLED:
        pytest.skip(f"a process here may have {hard} open files, and HAProxy needs {3 * STALLED}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    actor = actors()
    actor.serve(replica)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        client = stack.enter_context(Client(actor.url))
        began = time.monotonic()
        stalled = [stack.enter_context(stall(actor.port)) for _ in range(STALLED)]
        opened = time.monotonic()
        answers = client.answers
        until(lambda: client.answers > answers + 100)
        # No request waited for the end of a stalled connection.
        assert client.longest_s < HEAD_TIMEOUT_S / 2
        said = [one.recv(4096) for one in stalled]
        ended = time.monotonic()
    assert all(b" 408 " in one for one in said)
    assert ended - opened <= HEAD_TIMEOUT_S + MARGIN_S
    assert ended - began >= HEAD_TIMEOUT_S
    assert client.statuses == []
    print(f"{STALLED} stalled: others waited {client.longest_s:.2f} s, all ended in {ended - began:.1f} s")


@contextmanager
def stall(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: here\r\nX-")
        yield connection
