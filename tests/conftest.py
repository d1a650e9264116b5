"""What tests of several rooms share: the running service, and real labelled texts where there are some."""

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

# Before anything asks for a client, and for every process that a test starts.
seal(os.environ)

ROOT = Path(__file__).parents[1]

# How long an example takes says something of the machine alone.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


@dataclass(frozen=True)
class Service:
    """The service under test: the built-in model behind HAProxy, as `make serve` starts it, with capture."""

    url: str
    metrics: str
    dashboard: str
    log: str


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The real service on free ports, started once for all tests that ask for it."""
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
    """Folder of labelled texts; see `labelled_texts`."""
    folder = labelled_texts()
    if folder is None:
        pytest.skip("no labelled texts: set DATA_DIR to a folder with sst2_dev.parquet and the others")
    return folder
