"""Tests of the log when a process ends: complete after SIGTERM, and complete except its end after SIGKILL.

The routes and the log are the real ones, over HTTP, in a separate process; the model is not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from ray import serve

from serve_app.dev_server.launcher import free_port
from serve_app.replica.deployment import ClassifierReplica
from tests.conftest import ROOT
from tests.unit.train.prediction_log.logs import answered
from train.prediction_log.reader import Log

PATIENCE_S = 60


@contextmanager
def serving(log: Path, flush_s: float) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Run the routes in a process that captures into `log`, and yield when they answer."""
    port = free_port()
    environment = os.environ | {"SENTIMENT_LOG_URI": str(log), "SENTIMENT_LOG_FLUSH_S": f"{flush_s}"}
    command = [sys.executable, "-m", "tests.contract.serve_fake", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client:
            wait_for(lambda: answers(client))
            yield client, process
    finally:
        process.kill()
        process.wait()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/health/ready").is_success
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(client: httpx.Client, numbers: range) -> None:
    for number in numbers:
        headers = {"x-request-id": f"{number}"}
        client.post("/v1/classify", json={"inputs": "text"}, headers=headers).raise_for_status()


def kept(log: Path) -> list[int]:
    """Return the numbers of the requests in the log."""
    batches = Log(str(log)).predictions(columns=("request_id",))
    return sorted(int(name) for batch in batches for name in batch["request_id"].to_pylist())


def test_a_process_that_is_told_to_end_writes_all(tmp_path: Path) -> None:
    with serving(tmp_path, flush_s=3600) as (client, process):
        ask(client, range(20))
        told = {"request_id": "3", "label": "POSITIVE"}
        assert client.post("/v1/feedback", json=told).status_code == 202
        assert kept(tmp_path) == []
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    assert kept(tmp_path) == list(range(20))
    assert sum(batch.num_rows for batch in Log(str(tmp_path)).feedback()) == 1


def test_a_killed_process_loses_the_end_and_nothing_before(tmp_path: Path) -> None:
    with serving(tmp_path, flush_s=0.2) as (client, process):
        ask(client, range(20))
        wait_for(lambda: len(kept(tmp_path)) == 20)
        ask(client, range(20, 60))
        process.kill()
        process.wait()
    found = kept(tmp_path)
    assert found == list(range(len(found))) and len(found) >= 20


async def test_a_replica_that_serve_ends_writes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and end the capture as Serve's replica does, without a cluster."""
    monkeypatch.setenv("SENTIMENT_LOG_URI", str(tmp_path))
    monkeypatch.setenv("SENTIMENT_LOG_FLUSH_S", "3600")
    wrapped = serve.ingress()(ClassifierReplica)
    replica = wrapped.__new__(wrapped)
    await wrapped.__init__(replica)
    replica._set_asgi_app(replica.__serve_build_asgi_app__())
    await replica._run_asgi_lifespan_startup()

    replica._prediction_logger.record_prediction(answered("3", "text"))
    assert kept(tmp_path) == []
    await wrapped.__del__(replica)
    assert kept(tmp_path) == [3]
    replica.__dict__.clear()  # otherwise it would be ended a second time when it is collected
