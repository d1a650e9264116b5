"""A buildspec run on this machine, as CodeBuild runs it: phases in order, one command after the other."""

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
# The environment that the tests run in is the one that `make environment` sets up.
_SET_UP = ["-o", ".venv/all.stamp", "-o", ".venv/serve.stamp"]


@dataclass(frozen=True)
class Build:
    """How a build ended: 0, or the exit code of the command that failed, and what was said."""

    code: int
    failed: str | None
    said: str


def read(name: str) -> dict[str, Any]:
    """The buildspec NAME.yml."""
    document: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text())
    return document


def commands(name: str) -> list[str]:
    """Every command, in order."""
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
        name: of the buildspec.
        environment: all of it; it goes before what the buildspec sets, as a project's does in CodeBuild.
        instead: by command, what is run here instead of it.
        timeout_s: of each command.
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
