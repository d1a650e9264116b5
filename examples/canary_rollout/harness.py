"""Environment of a demonstration: the service on this machine, its load, and the measurements."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from cluster.rollout.controller import Controller, OnProgress
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.metric_sources import Endpoints
from cluster.rollout.plan import RolloutPlan, Tolerances
from cluster.rollout.state import Entry, ModelVersion, Rollout
from cluster.rollout.targets.serve_api import ServeTarget
from examples.canary_rollout.consistency_probe import ConsistencyProbe, probing
from examples.canary_rollout.errors import ExampleError
from examples.canary_rollout.load import LoadGenerator, generating_load
from examples.canary_rollout.memory import Memory, watching
from examples.canary_rollout.models import TEXTS
from serve_app.dev_server.launcher import LocalError, free_port, serving
from serve_app.dev_server.launcher import Plan as Service

QUICK = RolloutPlan(
    window_s=5,
    settle_s=5,
    min_requests=60,
    min_windows=2,
    max_stage_s=180,
    apply_timeout_s=180,
    # Pods, proxy and load generator share a few cores, so a stage that loads a model may slow down the
    # others.
    tolerances=Tolerances(latency_factor=3, late_ms=10_000),
)
"""Plan for rollouts of minutes: smaller samples than in the default plan, same tests and evidence."""

_ENVIRONMENT = {
    "RAY_metrics_report_interval_ms": "1000",
    # A stall of the shared cores should appear as latency, and not as refused requests.
    "SENTIMENT_MAX_QUEUE_WAIT_S": "20",
}
_TIMEOUT_S = 30.0
_PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class Harness:
    """Service under load.

    Attributes:
        service: settings that the service was started with.
        folder: folder for journals and files.
        target: interface that configures the models of the pods.
        client: HTTP client of the target.
        load: open-loop requests.
        witness: client that detects answers with mixed versions.
        memory: resident memory of the replicas that ran at the start.
    """

    service: Service
    folder: Path
    target: ServeTarget
    client: httpx.Client
    load: LoadGenerator
    witness: ConsistencyProbe
    memory: Memory

    def roll_out(
        self, name: str, canary: str, on_progress: OnProgress, plan: RolloutPlan = QUICK
    ) -> tuple[Rollout, list[Entry]]:
        """Run a canary rollout to its end.

        Args:
            name: name of the journal.
            canary: address of the bundle.
            on_progress: progress callback.
            plan: plan of the rollout.

        Returns:
            The rollout at its end, and its journal.
        """
        self.load.check()
        journal = FileJournal(self.folder / "journals" / name)
        source = Endpoints(self.service.dashboard, [self.service.metrics], client=self.client)
        rollout = Controller(journal, self.target, source, on_progress=on_progress).start(
            ModelVersion(canary), plan
        )
        return rollout, journal.entries()

    def settle(self, seconds: float = 0.0) -> None:
        """Wait until every pod has applied its configuration, and then `seconds` longer."""
        self.until(lambda: self.target.read().settled, "the pods to settle")
        time.sleep(seconds)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for a condition. Raises ExampleError after a timeout, or if the load test ended."""
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            self.load.check()
            if time.monotonic() > deadline:
                raise ExampleError(f"waited {_PATIENCE_S:.0f} s for {what}: {self.target.read()}")
            time.sleep(0.2)


@contextmanager
def running_service(
    folder: Path,
    *,
    replicas: int,
    per_minute: float,
    on_progress: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] | None = None,
    works_in: Path | None = None,
) -> Iterator[Harness]:
    """Run the service with the built-in model under load while the block runs.

    Args:
        folder: folder for journals and files.
        replicas: number of replicas; they share the cores.
        per_minute: requests per minute and replica.
        on_progress: progress callback, called with one line for each step.
        environment: additional environment variables for Ray and the replicas.
        works_in: folder in which Ray runs.

    Raises:
        ExampleError: the service or the load test could not be run.
    """
    service = Service(
        port=free_port(),
        dashboard_port=free_port(),
        replicas=replicas,
        environment={**_ENVIRONMENT, **(environment or {})},
        folder=works_in,
    )
    try:
        with (
            _ended_in_order(),
            serving(service, on_progress),
            httpx.Client(timeout=_TIMEOUT_S) as client,
            generating_load(service.url, folder, TEXTS, pods=replicas, per_minute=per_minute) as load,
            probing(service.url, TEXTS[:8]) as witness,
            watching(lambda: pids(service.dashboard, client)) as memory,
        ):
            target = ServeTarget(service.dashboard, client=client)
            here = Harness(service, folder, target, client, load, witness, memory)
            here.until(lambda: len(load.samples()) > 0, "the first answer to the load test")
            yield here
    except LocalError as error:
        raise ExampleError(str(error)) from error


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C while the block runs, so that service and load are stopped, too."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def pids(dashboard: str, client: httpx.Client) -> list[int]:
    """Return the process ids of the running replicas that Serve reports."""
    details = client.get(f"{dashboard}/api/serve/applications/").json()
    replicas = details["applications"]["sentiment"]["deployments"]["classifier"]["replicas"]
    return sorted(replica["pid"] for replica in replicas if replica["state"] == "RUNNING")
