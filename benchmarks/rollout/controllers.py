"""Controllers in separate processes, which can be killed, on an existing demonstration service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster.rollout.plan import RolloutPlan
from examples.canary_rollout.harness import QUICK, Harness
from serve_app.dev_server.launcher import ROOT

_TIMEOUT_S = 120


def options(here: Harness, journal: Path) -> list[str]:
    """Return the options that every verb needs."""
    return [
        "--dashboard",
        here.service.dashboard,
        "--metrics",
        here.service.metrics,
        "--journal",
        str(journal),
    ]


def start(here: Harness, journal: Path, canary: str, plan: RolloutPlan = QUICK) -> subprocess.Popen[bytes]:
    """Start `rollout start` in the background; its output goes to a file next to the journal."""
    journal.mkdir(parents=True, exist_ok=True)
    plan_file = journal / "plan.toml"
    plan_file.write_text(as_toml(plan))
    command = [sys.executable, "-m", "cluster", "rollout", "start", "--canary", canary]
    command += ["--plan", str(plan_file), *options(here, journal)]
    with (journal / "controller.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def verb(here: Harness, journal: Path, name: str) -> str:
    """Return the output of a verb."""
    command = [sys.executable, "-m", "cluster", "rollout", name, *options(here, journal)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return done.stdout + done.stderr


def as_toml(plan: RolloutPlan) -> str:
    """Return a plan in the format of its file."""
    said = plan.model_dump(mode="json")
    stages = ", ".join(
        f"{{ pods = {stage['pods'] if isinstance(stage['pods'], int) else repr(stage['pods'])} }}"
        for stage in said.pop("stages")
    )
    tolerances = said.pop("tolerances")
    lines = [f"stages = [{stages}]", *(f"{key} = {value}" for key, value in said.items())]
    lines += ["[tolerances]", *(f"{key} = {value}" for key, value in tolerances.items())]
    return "\n".join(lines) + "\n"
