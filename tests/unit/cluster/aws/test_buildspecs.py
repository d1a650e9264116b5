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


DOCKER = """#!/bin/sh
echo "$*" >> {folder}/told
case "$1" in
    manifest) grep --quiet --line-regexp --fixed-strings "$3" {folder}/pushed ;;
    push) ! grep --quiet --line-regexp --fixed-strings "$2" {folder}/pushed && echo "$2" >> {folder}/pushed ;;
esac
"""
"""Stand-in for Docker and a repository with immutable tags: a second push of a tag fails."""


def test_images_that_exist_are_not_built_again(tmp_path: Path) -> None:
    """A rerun of the same commit passes, also after a run that ended between two images."""
    for name, text in (("docker", DOCKER.format(folder=tmp_path)), ("aws", "#!/bin/sh\n")):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o755)
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sentiment"
    (tmp_path / "pushed").write_text(f"{image}:c0ffee-cpu\n")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "IMAGE": image}
    for _ in range(2):
        built = run("image", environment | {"COMMIT": "c0ffee"})
        assert built.code == 0, built.said
    told = (tmp_path / "told").read_text().splitlines()
    assert [line for line in told if line.startswith("push ")] == [
        f"push {image}:c0ffee-{target}" for target in ("cuda", "train")
    ]
    builds = [line for line in told if line.startswith("build ")]
    assert len(builds) == 2 and all("--build-arg BUILDKIT_INLINE_CACHE=1" in line for line in builds)
    assert all(f"--cache-from={image}:" in line for line in builds)
    assert (tmp_path / "pushed").read_text().split() == [
        f"{image}:c0ffee-{target}" for target in ("cpu", "cuda", "train")
    ]


@pytest.mark.parametrize("name", ["upgrade", "train", "retrain"])
def test_a_build_that_calls_the_cluster_installs_no_pytorch(name: str) -> None:
    assert "make environment" not in commands(name)
    rule = re.search(rf"^{name}: (.*?)  ##", MAKEFILE, re.MULTILINE)
    assert rule and rule[1] == "$(CONTROL)"


def test_there_are_the_steps_that_the_pipelines_have() -> None:
    assert {"test", "image", "upgrade", "train", "retrain", "deploy", "drift"} <= set(NAMES)


def test_the_gate_comes_before_the_canary() -> None:
    recipe = MAKEFILE[MAKEFILE.index("rollout-start:") : MAKEFILE.index("rollout-promote:")]
    assert 0 < recipe.index("train gate") < recipe.index("ROLLOUT,start")
