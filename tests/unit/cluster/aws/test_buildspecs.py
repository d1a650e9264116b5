"""Tests of the buildspecs: they call only existing make targets, and a failed command ends the build."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.buildspecs import FOLDER, ROOT, commands, read, run

NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.MULTILINE))
VERBS = ("start", "promote", "abort")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_a_target(name: str) -> None:
    for command in commands(name):
        found = re.fullmatch(r"make ([a-z-]+)(\$ROLLOUT_VERB)?", command)
        assert found, command
        for verb in VERBS if found[2] else ("",):
            assert found[1] + verb in TARGETS, command


@pytest.mark.parametrize("name", NAMES)
def test_a_phase_that_fails_ends_the_build(name: str) -> None:
    document = read(name)
    assert document["version"] == 0.2
    # Without this setting, CodeBuild continues with the next phase.
    assert {phase["on-failure"] for phase in document["phases"].values()} == {"ABORT"}


@pytest.mark.parametrize(("verdict", "kept"), [(0, True), (3, True), (4, True), (1, False), (2, False)])
def test_a_verdict_is_kept_and_a_failure_is_one(tmp_path: Path, verdict: int, kept: bool) -> None:
    for name, code in (("python", verdict), ("aws", 0)):
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/told\nexit {code}\n')
        path.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MAKEFLAGS": f"BIN={tmp_path}", "DATA_BUCKET": "data"}
    assert (run("drift", environment).code == 0) == kept
    measured, *sent = (tmp_path / "told").read_text().splitlines()
    assert "train drift --log s3://data/captured --bundle registry:sentiment@champion" in measured
    assert [line.split()[-1] for line in sent] == kept * [
        "s3://data/drift/latest/report.html",
        "s3://data/drift/latest/verdict.json",
    ]


def test_there_are_the_steps_that_the_pipelines_have() -> None:
    assert {"test", "image", "upgrade", "train", "retrain", "deploy", "drift"} <= set(NAMES)


def test_the_gate_comes_before_the_canary() -> None:
    recipe = MAKEFILE[MAKEFILE.index("rollout-start:") : MAKEFILE.index("rollout-promote:")]
    assert 0 < recipe.index("train gate") < recipe.index("ROLLOUT,start")
