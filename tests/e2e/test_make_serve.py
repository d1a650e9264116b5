"""`make serve` and its kin as a person uses them: start, stop, start again, a taken port, another model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from serve_app.local import ONE_HOP, free_port
from tests.conftest import ROOT, Service
from tests.integration.models import save
from tests.terminal import heed_ctrl_c

pytestmark = pytest.mark.ray
PATIENCE_S = 180
QUESTION = {"inputs": ["I love this cream", "It ruined my skin"]}


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the README, its output in a file, ended whatever happens."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_ctrl_c,
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
    """The processes that listen on each TCP port."""
    found: dict[int, set[int | None]] = {}
    for link in psutil.net_connections("tcp"):
        if link.status == psutil.CONN_LISTEN:
            found.setdefault(link.laddr.port, set()).add(link.pid)
    return found


def test_start_stop_and_start_again_with_a_model_of_ones_own(tmp_path: Path, service: Service) -> None:
    """Beside another service of this machine, with which it shares no port: Serve's proxies would."""
    port, dashboard, log = free_port(), free_port(), tmp_path / "log"
    mine = save(tmp_path / "mine")
    for number, arguments in [(signal.SIGINT, []), (signal.SIGTERM, [f"MODEL=file://{mine}"])]:
        with running(make_serve(port, dashboard, *arguments), log) as child:
            said = wait_for(log, "is live", child)
            family = psutil.Process(child.pid).children(recursive=True)
            assert any("haproxy" in process.name() for process in family)
            who, ours = listeners(), {process.pid for process in family}
            assert who[port] <= ours
            assert all(pids <= ours or not pids & ours for pids in who.values())
            assert f"http://localhost:{port}/docs" in said and f"127.0.0.1:{dashboard}" in said
            curl = said[said.index("curl -s") : said.index("}'") + 2]
            answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True).stdout
            assert json.loads(answer)["model"]["name"] == ("mine" if arguments else "builtin-sentiment")
            stop(child, number)
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive
        assert port not in listeners()


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
    """With Serve's own proxy: `serve deploy` of the shipped configuration, then `serve run`."""
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
