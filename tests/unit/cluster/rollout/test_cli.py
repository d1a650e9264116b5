"""Tests of the command line: output from the journal alone, JSON output, and exit codes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from cluster.__main__ import main
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.plan import RolloutPlan
from cluster.rollout.report import as_json, describe
from cluster.rollout.state import ModelVersion, Rollout
from cluster.rollout.targets.base import DeploymentState
from serve_app.dev_server.launcher import free_port
from tests.conftest import ROOT
from tests.unit.cluster.rollout.world import QUICK, SimulatedCrashError, World


@pytest.fixture
def nobody() -> list[str]:
    """Return options that name a cluster that does not exist."""
    return ["--dashboard", f"http://127.0.0.1:{free_port()}"]


def rolled(folder: Path, canary: str, dies_after: int | None = None) -> World:
    world = World(folder, dies_after=dies_after)
    try:
        world.controller().start(ModelVersion(canary), QUICK)
    except SimulatedCrashError:
        assert dies_after is not None
    return world


def serving(world: World) -> DeploymentState:
    return DeploymentState(world.split, world.replicas, world.replicas, settled=True)


def test_status_of_a_rollout_at_rest_and_without_its_cluster(
    tmp_path: Path, nobody: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rolled(tmp_path, "stuck")
    assert main(["rollout", "status", *nobody, "--journal", str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "rollout 1: rolled_back" in output.out and "with the label POSITIVE" in output.out
    assert "no answer from" in output.err
    row = next(line for line in output.out.splitlines() if line.startswith("  labels"))
    assert row.split()[1:4] == ["50.00%", "100.00%", "+10.0%"] and "[" + 20 * "#" + "]" in row


def test_status_says_when_nobody_is_at_work_and_what_the_pods_serve(tmp_path: Path) -> None:
    world = rolled(tmp_path, "good", dies_after=4)
    rollout = world.journal().rollout()
    text = describe(rollout, serving(world), is_running=False)
    assert "rollout 1: canary" in text and "continue with `rollout resume`" in text
    assert "3 of old, 1 of good" in text and "[1 pod] > 2 pods > all" in text
    assert "resume" not in describe(rollout, None, is_running=True)


def test_no_rollout_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert describe(Rollout(), None, is_running=False) == "no rollout yet"
    assert main(["rollout", "history", "--journal", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no rollout yet\n"


def test_history_has_a_line_for_each_transition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rolled(tmp_path, "good")
    assert main(["rollout", "history", "--journal", str(tmp_path)]) == 0
    events = [line[25:].split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert events == ["started", "advanced", "promoting", "promoted"]
    assert main(["rollout", "history", "--journal", str(tmp_path), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == FileJournal(tmp_path).entries()


def test_json_has_what_a_pipeline_asks_for(tmp_path: Path) -> None:
    world = rolled(tmp_path, "failing")
    told = json.loads(json.dumps(as_json(world.journal().rollout(), serving(world))))
    assert (told["state"], told["canary"]) == ("rolled_back", "failing")
    assert told["serving"] == {
        "champion": "old",
        "canary": None,
        "canary_pods": 0,
        "replicas": 4,
        "settled": True,
    }
    [errors] = [test for test in told["tests"] if test["test"] == "errors alone"]
    assert errors["canary"] == 0.2 and errors["evidence"] > errors["limit"]


@pytest.mark.parametrize("verb", ["promote", "abort"])
def test_a_verb_that_does_not_fit_is_exit_code_1(
    tmp_path: Path, nobody: list[str], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollout", verb, *nobody, "--journal", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {verb} is for a rollout that is canary") and "idle" in error


def test_no_cluster_is_exit_code_1_and_nothing_is_begun(
    tmp_path: Path, nobody: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollout", "start", "--canary", "x", *nobody, "--journal", str(tmp_path)]) == 1
    assert "check --dashboard" in capsys.readouterr().err
    assert FileJournal(tmp_path).entries() == []


def test_power_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "power", "--rollouts", "20", "--minutes", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["share", "of", "texts"]
    assert {line.split()[0] for line in lines[1:]} == {"5xx", "slow", "label"}


def test_the_documented_plan_is_the_built_in_one() -> None:
    text = (ROOT / "docs/rollout.md").read_text()
    start = text.index("```toml") + len("```toml")
    assert RolloutPlan.model_validate(tomllib.loads(text[start : text.index("```", start)])) == RolloutPlan()


def test_the_demonstration_needs_two_replicas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "demo", "--replicas", "1", "--out", str(tmp_path / "out")]) == 1
    assert "the deployment has 1 replica" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
