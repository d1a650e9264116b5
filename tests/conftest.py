"""Fixtures for all test folders: the running service, and real labelled texts if they are available."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from serve_app.dev_server.launcher import Plan, free_port, serving
from tests.labelled import labelled_texts
from tests.no_account import seal

# Runs before any AWS client is created, and applies to every process that a test starts.
seal(os.environ)

ROOT = Path(__file__).parents[1]

# The duration of an example depends on the load of the machine, so it must not fail a test.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


def pytest_xdist_auto_num_workers() -> int:
    """Use one worker more than CPUs, at most 8: many tests wait for other processes."""
    return min(8, (os.cpu_count() or 1) + 1)


@dataclass(frozen=True)
class Service:
    """Service under test: the built-in model behind HAProxy, as `make serve` starts it, with capture."""

    url: str
    metrics: str
    dashboard: str
    log: str


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Start the real service on free ports, once for all tests that use it."""
    log = str(tmp_path_factory.mktemp("log"))
    plan = Plan(
        port=free_port(),
        dashboard_port=free_port(),
        metrics_port=free_port(),
        environment={"SENTIMENT_LOG_URI": log, "SENTIMENT_LOG_FLUSH_S": "0.5"},
    )
    with serving(plan, print):
        yield Service(f"http://127.0.0.1:{plan.port}", plan.metrics, plan.dashboard, log)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of labelled texts, or skip the test; see `labelled_texts`."""
    folder = labelled_texts()
    if folder is None:
        pytest.skip("no labelled texts: set DATA_DIR to a folder with sst2_dev.parquet and the others")
    return folder
