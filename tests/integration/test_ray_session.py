"""Tests of the Ray cluster that a command of `train` starts."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

START = "from train.ray_session import start_ray; start_ray(1); import ray; ray.shutdown()"


def test_commands_that_start_at_once_have_a_cluster_each() -> None:
    commands = [
        subprocess.Popen([sys.executable, "-c", START], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for command in commands:
        _, said = command.communicate(timeout=300)
        assert command.returncode == 0, said[-2000:]
