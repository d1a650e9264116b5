"""Runner of buildspecs on this machine, as in CodeBuild: the phases in order, the commands in sequence."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "cluster" / "aws" / "buildspecs"
PHASES = ("install", "pre_build", "build", "post_build")
# `make environment` sets up the environment in which the tests already run, so make must not update it.
_SET_UP = ["-o", ".venv/all.stamp", "-o", ".venv/serve.stamp"]


@dataclass(frozen=True)
class Build:
    """Result of a build: exit code (0, or that of the failed command), failed command, and output."""

    code: int
    failed: str | None
    said: str


def read(name: str) -> dict[str, Any]:
    """Return the contents of the buildspec NAME.yml."""
    document: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return document


def commands(name: str) -> list[str]:
    """Return all commands of the buildspec, in order."""
    phases = read(name)["phases"]
    assert set(phases) <= set(PHASES)
    return [command for phase in PHASES for command in phases.get(phase, {}).get("commands", [])]


def run(
    name: str,
    environment: Mapping[str, str],
    *,
    instead: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> Build:
    """Run a buildspec.

    Args:
        name: name of the buildspec.
        environment: all environment variables; they override those of the buildspec, like the variables of a
            project in CodeBuild.
        instead: replacement of each command that does not run here, by the original command.
        timeout_s: maximum duration of each command, in seconds.
    """
    variables = {**read(name).get("env", {}).get("variables", {}), **environment}
    said = []
    for command in commands(name):
        here = (instead or {}).get(command, command)
        if here.startswith("make "):
            here = shlex.join(["make", *_SET_UP]) + here.removeprefix("make")
        done = subprocess.run(
            ["bash", "-c", here],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
        )
        said.append(f"$ {here}\n{done.stdout}")
        if done.returncode:
            return Build(done.returncode, command, "".join(said))
    return Build(0, None, "".join(said))
