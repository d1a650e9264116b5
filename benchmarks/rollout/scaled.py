"""Scaling from 4 to 2 and to 6 replicas during a canary: number of canary pods during and after it."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.rollout import controllers
from cluster.rollout.journal.file import FileJournal
from examples.canary_rollout.harness import QUICK, Harness, running_service
from examples.canary_rollout.models import version_of_builtin
from examples.canary_rollout.periodic import repeating
from examples.canary_rollout.timeline import within

REPLICAS = (4, 2, 6)
WATCHED_S = 15.0
_EVERY_S = 1.0
_ASKED = 40
"""Requests of one sweep: with six pods it misses a given one with (5/6)^40 = 0.07 %."""
ENDLESS = QUICK.model_copy(update={"min_requests": 1_000_000, "max_stage_s": 3600})


@dataclass
class Sweeps:
    """Reported versions of the pods: each sweep is a time, and the version by rank."""

    seen: list[tuple[float, dict[int, str]]] = field(default_factory=list)

    def canaries(self, began_s: float, ended_s: float) -> Counter[int]:
        """Return the number of sweeps in a time span by the number of canary pods that they saw."""
        return Counter(
            sum(version == "good" for version in by_rank.values())
            for at, by_rank in self.seen
            if began_s <= at <= ended_s
        )


def run(*, replicas: int, per_minute: float, names: object) -> Iterator[str]:
    """Yield one row for every number of replicas, and one for the change before it."""
    with tempfile.TemporaryDirectory(prefix="scaled-") as scratch:
        folder = Path(scratch)
        uri = version_of_builtin(folder / "good", "good", temperature=1.0)
        # Six replicas must fit, so each has a sixth of the cores.
        cpus = {"SENTIMENT_REPLICA_CPUS": "0.3"}
        with running_service(folder, replicas=REPLICAS[0], per_minute=per_minute, environment=cpus) as here:
            here.settle(5)
            controller = controllers.start(here, folder / "journal", uri, ENDLESS)
            journal = FileJournal(folder / "journal")
            here.until(lambda: journal.rollout().applied_at is not None, "the canary")
            yield "| replicas | seconds | sweeps by pods of the canary | requests | canary's share | failed |"
            yield "|---|---|---|---|---|---|"
            with _sweeping(here.service.url) as sweeps:
                for count in REPLICAS:
                    yield from _scaled_to(here, count, sweeps)
            yield f"`abort` says: {controllers.verb(here, folder / 'journal', 'abort').splitlines()[-1]}"
            yield f"the controller's exit code: {controller.wait(60)}"
        yield f"mixed answers: {here.witness.mixed()} of {here.witness.answers}"


def _scaled_to(here: Harness, count: int, sweeps: Sweeps) -> Iterator[str]:
    before = here.target.read().replicas
    if before != count:
        began_s = time.time()
        here.target.scale(count)
        time.sleep(1)  # after this time it is no longer settled
        here.settle()
        yield _row(here, f"{before} to {count}", sweeps, began_s)
    began_s = time.time()
    time.sleep(WATCHED_S)
    yield _row(here, str(count), sweeps, began_s)


def _row(here: Harness, what: str, sweeps: Sweeps, began_s: float) -> str:
    ended_s = time.time()
    samples = within(here.load.samples(), began_s, ended_s)
    right = [sample for sample in samples if sample.failure is None]
    share = sum(sample.version == "good" for sample in right) / max(1, len(right))
    found = ", ".join(f"{pods}: {n}" for pods, n in sorted(sweeps.canaries(began_s, ended_s).items()))
    failed = Counter(sample.failure for sample in samples if sample.failure is not None)
    return (
        f"| {what} | {ended_s - began_s:.0f} | {found} | {len(samples)} | {share:.0%} | {dict(failed) or 0} |"
    )


@contextmanager
def _sweeping(url: str) -> Iterator[Sweeps]:
    """Request the served version from every pod, repeatedly, while the block runs."""
    sweeps = Sweeps()

    def sweep() -> None:
        at, by_rank = time.time(), {}
        for _ in range(_ASKED):
            try:
                said = httpx.get(f"{url}/v1/model", timeout=10).json()
                by_rank[said["rank"]] = said["version"]
            except (httpx.HTTPError, ValueError, KeyError):
                continue
        sweeps.seen.append((at, by_rank))

    with repeating(sweep, _EVERY_S):
        yield sweeps
