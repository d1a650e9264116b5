"""Test of one row of `make chaos` on the real service: the harness finds, kills, measures and evaluates."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.chaos.bounds import BOUNDS
from tests.conftest import ROOT

pytestmark = pytest.mark.serve
ROW = "controller killed"


def test_a_killed_controller_is_not_noticed_by_clients(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    done = subprocess.run(
        ["make", "chaos", f"CHAOS_ARGS='{ROW}' --json {written}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = json.loads(written.read_text())
    assert row["scenario"] == ROW and row["sent"] > 100
    assert not row["missed"] and not row["failures"]
    assert set(BOUNDS[ROW]) <= set(row["measures"])
    # The controller ended and was restarted, so Serve's API was unavailable for a while.
    assert row["measures"]["whole_s"] > 0
