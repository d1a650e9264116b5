"""Tests of rollouts on real Ray Serve: two replicas under load, a canary on one, then on both or on none."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.__main__ import main
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.state import RolloutState
from cluster.rollout.targets.base import DeploymentState, TrafficSplit
from cluster.rollout.targets.serve_api import ServeTarget
from examples.canary_rollout.models import version_of_builtin
from serve_app.dev_server.launcher import Plan, free_port, serving
from serve_app.model.bundle import read_manifest
from tests.conftest import ROOT

pytestmark = pytest.mark.serve
PATIENCE_S = 180
LIVE = read_manifest(ROOT / "serve_app/model/builtin").version
TEXTS = ["I love this cream", "It ruined my skin", "It broke after a week", "A lovely film"]
QUICK = """
stages = [{ pods = 1 }]
window_s = 6
settle_s = 6
min_requests = 40
min_windows = 2
max_stage_s = 150
apply_timeout_s = 120
[tolerances]
latency_factor = 20
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Plan]:
    """Run two replicas behind HAProxy, with metrics exported each second."""
    plan = Plan(
        port=free_port(),
        dashboard_port=free_port(),
        replicas=2,
        environment={"RAY_metrics_report_interval_ms": "1000"},
    )
    with serving(plan, print):
        yield plan


@dataclass
class Load:
    """Clients that send requests until stopped, and record every answer: status, versions, labels."""

    url: str
    answers: list[tuple[int, str | None, str | None, tuple[str, ...]]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self.over.wait(0.05):
                answer = client.post(f"{self.url}/v1/classify", json={"inputs": TEXTS})
                body = answer.json()
                labels = tuple(result["label"] for result in body.get("results", ()))
                header = answer.headers.get("x-model-version")
                self.answers.append(
                    (answer.status_code, header, body.get("model", {}).get("version"), labels)
                )


@contextlib.contextmanager
def load(service: Plan, clients: int = 2) -> Iterator[Load]:
    users = Load(service.url)
    threads = [threading.Thread(target=users.run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield users
    finally:
        users.over.set()
        for thread in threads:
            thread.join()


def arguments(service: Plan, tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "plan.toml").write_text(QUICK)
    common = ["--dashboard", service.dashboard, "--metrics", service.metrics]
    return ["rollout", *more, *common, "--journal", str(tmp_path / "journal"), "--json"]


def start(service: Plan, tmp_path: Path, canary: str) -> list[str]:
    return arguments(service, tmp_path, "start", "--canary", canary, "--plan", str(tmp_path / "plan.toml"))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def served(service: Plan) -> TrafficSplit:
    return read(service).split


def read(service: Plan) -> DeploymentState:
    with httpx.Client(timeout=60) as client:
        return ServeTarget(service.dashboard, client=client).read()


def reset(service: Plan) -> str:
    """Configure every pod with the built-in model, and return its address in the cluster."""
    with httpx.Client(timeout=60) as client:
        ServeTarget(service.dashboard, client=client).apply(TrafficSplit("builtin:"))
    until(lambda: read(service).settled and served(service) == TrafficSplit("builtin:"))
    return "builtin:"


def test_the_pods_stay_in_the_metrics_between_health_checks(service: Plan) -> None:
    """Read metrics between health checks, which are 5 s apart; here Ray drops a gauge not set for 2 s."""

    def pods() -> int:
        return httpx.get(service.metrics).text.count("\nray_sentiment_model_info{")

    reset(service)
    until(lambda: pods() == 2)
    readings = []
    for _ in range(30):
        readings.append(pods())
        time.sleep(0.25)
    assert readings.count(2) > 25, readings  # a report may be late


def test_a_good_canary_reaches_every_pod_without_a_lost_request(
    service: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reset(service)
    good = version_of_builtin(tmp_path / "good", "good")
    with load(service) as users:
        assert main(start(service, tmp_path, good)) == 0
        expected = len(users.answers) + 20
        until(lambda: len(users.answers) >= expected)
    assert {status for status, *_ in users.answers} == {200}
    assert all(header == body for _, header, body, _ in users.answers)
    assert {labels for *_, labels in users.answers} == {("POSITIVE", "NEGATIVE", "NEGATIVE", "POSITIVE")}
    versions = [version for _, version, *_ in users.answers]
    assert set(versions) == {LIVE, "good"} and set(versions[-20:]) == {"good"}
    assert served(service) == TrafficSplit(good)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["state"] == "promoted" and lines[-1]["requests"]["canary"] >= 40


def test_a_canary_that_does_not_load_is_rolled_back_and_nobody_has_seen_it(
    service: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    champion = reset(service)
    damaged = version_of_builtin(tmp_path / "damaged", "damaged")
    with (tmp_path / "damaged" / "adapter_model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        weights.write(b"\x7f")
    with load(service) as users:
        assert main(start(service, tmp_path, damaged)) == 2
    assert {(status, version) for status, version, *_ in users.answers} == {(200, LIVE)}
    assert "digest-mismatch" in capsys.readouterr().out
    assert served(service) == TrafficSplit(champion)


def test_a_canary_with_other_answers_is_rolled_back_after_its_controller_was_killed(
    service: Plan, tmp_path: Path
) -> None:
    champion = reset(service)
    wrong = version_of_builtin(tmp_path / "wrong", "wrong", swap_labels=True)
    # With texts of both kinds in equal parts, the labels' shares would not change: send one kind only.
    with load(service) as users:
        TEXTS[:] = ["I love this cream"] * 4
        try:
            command = [sys.executable, "-m", "cluster", *start(service, tmp_path, wrong)]
            with (tmp_path / "log").open("wb") as log:
                controller = subprocess.Popen(
                    command, cwd=ROOT, stdout=log, stderr=log, env=os.environ.copy()
                )
            journal = FileJournal(tmp_path / "journal")
            until(lambda: journal.rollout().applied_at is not None)
            controller.send_signal(signal.SIGKILL)
            controller.wait()
            assert served(service).canary == wrong, "the pods go on with what they were told"
            assert journal.rollout().state is RolloutState.CANARY
            assert main(start(service, tmp_path, wrong)) == 2
        finally:
            TEXTS[:] = ["I love this cream", "It ruined my skin", "It broke after a week", "A lovely film"]
    assert served(service) == TrafficSplit(champion)
    assert "labels" in journal.rollout().reason
    assert {status for status, *_ in users.answers} == {200}
    seen: dict[str | None, set[Any]] = {}
    for _, version, _, labels in users.answers:
        seen.setdefault(version, set()).update(labels)
    assert "wrong" in seen
