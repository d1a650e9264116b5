"""Five bad canaries and a good one, each rolled out by the controller on real replicas under load."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.rollout.models import CANARIES, slowness
from cluster.rollout.plan import Tolerances
from cluster.rollout.state import RolloutState
from examples.canary_rollout.harness import QUICK, Harness, running_service
from examples.canary_rollout.timeline import within

PLAN = QUICK.model_copy(update={"tolerances": Tolerances(latency_factor=2)})


def run(*, replicas: int, per_minute: float, names: Sequence[str]) -> Iterator[str]:
    """Yield one row per canary."""
    with tempfile.TemporaryDirectory(prefix="bad-") as scratch:
        folder = Path(scratch)
        uris = {name: CANARIES[name](folder / name) for name in names or CANARIES}
        if {"slow", "good"} <= uris.keys():
            yield f"slow: {slowness(uris['slow'], uris['good']):.1f} times the good one's forward, in process"
        yield "| canary | ended | reason | seconds | requests | seen by the canary | failed |"
        yield "|---|---|---|---|---|---|---|"
        with running_service(folder, replicas=replicas, per_minute=per_minute) as here:
            here.settle(5)
            for name, uri in uris.items():
                yield _row(here, name, uri)
        yield f"mixed answers: {here.witness.mixed()} of {here.witness.answers}"


def _row(here: Harness, name: str, uri: str) -> str:
    rollout, journal = here.roll_out(name, uri, lambda *_: None, PLAN)
    began_s, ended_s = float(journal[0]["at"]), float(journal[-1]["at"])
    here.settle(3)
    samples = within(here.load.samples(), began_s, ended_s)
    seen = sum(sample.version == name for sample in samples)
    failed = Counter(sample.failure for sample in samples if sample.failure is not None)
    ended = "promoted" if rollout.state is RolloutState.PROMOTED else "rolled back"
    reason = rollout.reason.replace(str(here.folder) + "/", "")
    failures = ", ".join(f"{what}: {count}" for what, count in failed.items()) or "0"
    share = f"{seen} ({seen / len(samples):.0%})"
    return (
        f"| {name} | {ended} | {reason} | {ended_s - began_s:.0f} | {len(samples)} | {share} | {failures} |"
    )
