"""Tests of the wait policy of OpenMP threads, which the replica sets before it imports torch."""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
import serve_app.app
from serve_app.replica.deployment import ClassifierReplica
ClassifierReplica()
assert "torch" not in sys.modules
import torch
"""


@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_a_replicas_threads_wait_passively_unless_the_variable_is_set(
    given: dict[str, str], policy: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "TRUE", **given}  # OpenMP prints its settings when it is loaded
    run = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert f"OMP_WAIT_POLICY = '{policy}'" in run.stderr
