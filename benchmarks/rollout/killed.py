"""Controller that is killed at every stage and restarted, and one that is killed without a restart."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rollout import controllers
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.state import Rollout, RolloutState
from examples.canary_rollout.harness import Harness, running_service
from examples.canary_rollout.models import version_of_builtin
from examples.canary_rollout.timeline import within

ALONE_S = 15.0
_PATIENCE_S = 200.0
Reached = Callable[[Rollout], bool]

MOMENTS: dict[str, dict[str, Reached]] = {
    "good": {
        "before the pods were told": lambda r: r.state is RolloutState.CANARY and r.applied_at is None,
        "canary on one pod": lambda r: r.stage == 0 and r.applied_at is not None,
        "half, before the pods were told": lambda r: r.stage == 1 and r.applied_at is None,
        "canary on half": lambda r: r.stage == 1 and r.applied_at is not None,
        "promoting": lambda r: r.state is RolloutState.PROMOTING,
    },
    "bad": {
        "canary on one pod": lambda r: r.state is RolloutState.CANARY and r.applied_at is not None,
        "taking back": lambda r: r.state is RolloutState.ROLLING_BACK,
    },
}
"""Kill conditions by canary: states of the journal at which its controller is killed, in order."""


def run(*, replicas: int, per_minute: float, names: object) -> Iterator[str]:
    """Yield one row per kill, and the end state of each rollout."""
    with tempfile.TemporaryDirectory(prefix="killed-") as scratch:
        folder = Path(scratch)
        uris = {
            "good": version_of_builtin(folder / "good", "good", temperature=1.0),
            "bad": version_of_builtin(folder / "bad", "bad", swap_labels=True),
        }
        with running_service(folder, replicas=replicas, per_minute=per_minute) as here:
            here.settle(5)
            yield "| canary | killed with -9 | the pods then serve | started again, it ends |"
            yield "|---|---|---|---|"
            for name, uri in uris.items():
                yield from _killed_on_the_way(here, folder / "journals" / name, name, uri)
            yield from _killed_for_good(here, folder / "journals" / "alone", uris["bad"])
        samples = here.load.samples()
        failed = Counter(sample.failure for sample in samples if sample.failure is not None)
        yield f"requests: {len(samples)}, failed: {dict(failed) or 0}"
        yield f"mixed answers: {here.witness.mixed()} of {here.witness.answers}"


def _killed_on_the_way(here: Harness, folder: Path, name: str, uri: str) -> Iterator[str]:
    journal = FileJournal(folder)
    rows = []
    for moment, reached in MOMENTS[name].items():
        controller = controllers.start(here, folder, uri)
        _until(lambda reached=reached: reached(journal.rollout()))  # type: ignore[misc]
        controller.kill()
        controller.wait()
        found = journal.rollout()
        rows.append((moment, str(found.state), _served(here)))
    controller = controllers.start(here, folder, uri)
    code = controller.wait(_PATIENCE_S)
    ended = journal.rollout()
    for moment, state, served in rows:
        yield f"| {name} | {moment} ({state}) | {served} | {ended.state}, exit code {code} |"
    yield f"| {name} | | {_served(here)} | {ended.reason} |"


def _killed_for_good(here: Harness, folder: Path, uri: str) -> Iterator[str]:
    journal = FileJournal(folder)
    controller = controllers.start(here, folder, uri)
    _until(lambda: journal.rollout().applied_at is not None)
    controller.kill()
    controller.wait()
    here.settle()
    began_s = time.time()
    time.sleep(ALONE_S)
    samples = within(here.load.samples(), began_s, time.time())
    versions = Counter(sample.version for sample in samples if sample.failure is None)
    failed = sum(sample.failure is not None for sample in samples)
    yield f"killed for good: {ALONE_S:.0f} s later {dict(versions)} answered, {failed} failed; `status` says:"
    yield controllers.verb(here, folder, "status")
    yield f"`abort` then says: {controllers.verb(here, folder, 'abort').splitlines()[-1]}"


def _served(here: Harness) -> str:
    serving = here.target.read()
    canary = serving.split.step.pods if serving.split.step else 0
    name = Path(serving.split.canary or "none").name
    champion = Path(serving.split.champion).name
    return f"{serving.replicas - canary} of {champion}, {canary} of {name}"


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come within {_PATIENCE_S:.0f} s")
        time.sleep(0.01)
