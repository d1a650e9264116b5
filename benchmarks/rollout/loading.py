"""Effect of loading on other requests: latency while bundles load, divided by that before, in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.rollout.plan import CanaryPods
from cluster.rollout.targets.base import TrafficSplit
from examples.canary_rollout.harness import Harness, running_service
from examples.canary_rollout.load import RequestSample
from examples.canary_rollout.models import version_of_builtin
from examples.canary_rollout.timeline import p95_ms, within

TURNS = 2
_QUIET_S = 8.0


def run(*, replicas: int, per_minute: float, names: object) -> Iterator[str]:
    """Yield one row for one pod at a time (a canary), and one for all pods (a promotion)."""
    with tempfile.TemporaryDirectory(prefix="loading-") as scratch:
        folder = Path(scratch)
        uri = version_of_builtin(folder / "good", "good", temperature=1.0)
        one_pod, champion = (
            TrafficSplit("builtin:", uri, CanaryPods(1, shadow=False)),
            TrafficSplit("builtin:"),
        )
        yield "| what loads | loads | seconds each | p95 before, ms | p95 meanwhile, ms | factor | failed |"
        yield "|---|---|---|---|---|---|---|"
        with running_service(folder, replicas=replicas, per_minute=per_minute) as here:
            here.settle(5)
            for what, splits in (
                ("a canary, on one pod", one_pod),
                ("a version, on all pods", TrafficSplit(uri)),
            ):
                yield _row(here, what, [champion, splits])


def _row(here: Harness, what: str, splits: Sequence[TrafficSplit]) -> str:
    """Switch between the two splits, in turns with quiet periods."""
    quiet: list[RequestSample] = []
    busy: list[RequestSample] = []
    times: list[tuple[float, float, float]] = []
    here.target.apply(splits[0])
    time.sleep(1)
    here.settle(3)
    for turn in range(2 * TURNS):
        began_s = time.time()
        time.sleep(_QUIET_S)
        told_s = time.time()
        here.target.apply(splits[(turn + 1) % 2])
        here.until(lambda turn=turn: _live(here, splits[(turn + 1) % 2]), "the pods to load")  # type: ignore[misc]
        times.append((began_s, told_s, time.time()))
        time.sleep(3)
    samples = here.load.samples()
    for began_s, told_s, done_s in times:
        quiet += within(samples, began_s, told_s)
        busy += within(samples, told_s, done_s)
    before, meanwhile = p95_ms(quiet) or 0.0, p95_ms(busy) or 0.0
    failed = sum(sample.failure is not None for sample in (*quiet, *busy))
    seconds = [done_s - told_s for _, told_s, done_s in times]
    took = f"{min(seconds):.1f} to {max(seconds):.1f}"
    return (
        f"| {what} | {len(seconds)} | {took} | {before:.0f} ({len(quiet)}) | "
        f"{meanwhile:.0f} ({len(busy)}) | {meanwhile / before:.1f} | {failed} |"
    )


def _live(here: Harness, split: TrafficSplit) -> bool:
    serving = here.target.read()
    return serving.split == split and serving.settled
