"""Sequence of the demonstration: the controller promotes a good version, then rolls back a bad one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.rollout.analysis import Decision
from cluster.rollout.plan import steps
from cluster.rollout.state import Rollout, RolloutState
from examples.canary_rollout import report
from examples.canary_rollout.harness import QUICK, Harness, running_service
from examples.canary_rollout.load import RequestSample
from examples.canary_rollout.models import version_of_builtin
from examples.canary_rollout.timeline import StageStatistics, rows, within

GOOD, BAD = "good", "bad"
_WARM_S = 8.0
"""Seconds under load before the first rollout and after each: caches fill, and freed memory is returned."""
_KEPT_FRACTION = 0.5
"""Part of the memory added by loading a second model that a replica may keep, because of the allocator."""


@dataclass(frozen=True, slots=True)
class ExpectedResult:
    """Expected result of the demonstration: what is checked, whether it holds, and the measured value."""

    what: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class RolloutResults:
    """Result of the demonstration.

    Attributes:
        rows: rows of every stage, by rollout.
        memory: bytes by replica (process), by phase.
        checks: expected results.
    """

    rows: Mapping[str, Sequence[StageStatistics]]
    memory: Mapping[str, Mapping[int, int]]
    checks: Sequence[ExpectedResult]

    @property
    def holds(self) -> bool:
        """Return whether every check holds."""
        return all(check.holds for check in self.checks)

    def as_json(self) -> str:
        """Return the entire result as JSON."""
        return json.dumps(
            {
                "holds": self.holds,
                "checks": [asdict(check) for check in self.checks],
                "memory_bytes": {phase: list(sizes.values()) for phase, sizes in self.memory.items()},
                "rollouts": {name: [asdict(row) for row in of_it] for name, of_it in self.rows.items()},
            }
        )


def demonstrate(
    out: Path, *, replicas: int, per_minute: float, on_progress: Callable[[str], None]
) -> RolloutResults:
    """Run the demonstration.

    Args:
        out: folder for the plot, `canary.png`; it is created.
        replicas: number of replicas, at least two.
        per_minute: requests per minute and replica.
        on_progress: progress callback, called with one line for each step.

    Raises:
        ExampleError: the service or the load test could not be run.
        RolloutPlanError: there are too few replicas.
        RolloutError: the controller could not run a rollout to its end.
    """
    steps(QUICK, replicas)  # fail now instead of after a minute
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="canary-") as scratch:
        folder = Path(scratch)
        canaries = {
            GOOD: version_of_builtin(folder / GOOD, GOOD, temperature=1.0),
            BAD: version_of_builtin(folder / BAD, BAD, swap_labels=True),
        }
        with running_service(
            folder, replicas=replicas, per_minute=per_minute, on_progress=on_progress
        ) as here:
            here.settle(_WARM_S)
            memory = {"before": here.memory.now()}
            rollouts, journals = {}, {}
            for name, uri in canaries.items():
                on_progress(f"rolling out {name}")
                rollouts[name], journals[name] = here.roll_out(name, uri, _teller(on_progress))
                here.settle(_WARM_S)
                began_s, ended_s = journals[name][0]["at"], journals[name][-1]["at"]
                memory[f"maximum during the rollout of {name}"] = here.memory.most(began_s, ended_s)
                memory[f"after {name}"] = here.memory.now()
        # The load test has received its last answers by now.
        samples = here.load.samples()
    by_stage = {name: rows(journal, samples, replicas, name) for name, journal in journals.items()}
    checks = [*_ends(rollouts), *_answers(here, samples, by_stage[BAD]), _memory(memory)]
    stages = [row.stage for of_it in by_stage.values() for row in of_it]
    report.draw(out / "canary.png", samples, stages)
    return RolloutResults(by_stage, memory, checks)


def as_text(shown: RolloutResults) -> str:
    """Return the tables and the results of the checks."""
    checks = [
        f"{'ok    ' if check.holds else 'FAILED'} {check.what}: {check.found}" for check in shown.checks
    ]
    lines = [*report.table(shown.rows), "", *report.memory_table(shown.memory), "", *checks]
    return "\n".join(lines)


def _ends(rollouts: Mapping[str, Rollout]) -> list[ExpectedResult]:
    good, bad = rollouts[GOOD], rollouts[BAD]
    return [
        ExpectedResult("the good version was promoted", good.state is RolloutState.PROMOTED, good.reason),
        ExpectedResult("the bad version was rolled back", bad.state is RolloutState.ROLLED_BACK, bad.reason),
    ]


def _answers(
    here: Harness, samples: Sequence[RequestSample], of_bad: Sequence[StageStatistics]
) -> list[ExpectedResult]:
    witness = here.witness
    failed = sum(sample.failure is not None for sample in samples) + len(witness.refused)
    mixed = witness.mixed()
    during = within(samples, of_bad[0].stage.began_s, of_bad[-1].stage.ended_s)
    seen = sum(sample.version == BAD for sample in during)
    share = 1 / here.service.replicas
    # Random variation, and load balancing by the pods' queues, change the share of one pod slightly.
    maximum = share + 3 * (share * (1 - share) / max(1, len(during))) ** 0.5
    return [
        ExpectedResult("no request failed", failed == 0, f"{failed} of {len(samples) + witness.answers}"),
        ExpectedResult(
            "every answer was entirely of one version",
            mixed == 0 and witness.tells_apart(),
            f"{mixed} mixed of {witness.answers} answers of 8 texts, {len(witness.scores)} versions",
        ),
        ExpectedResult(
            f"the bad version answered at most one pod's share ({share:.0%})",
            0 < seen <= maximum * len(during),
            f"{seen} of {len(during)} requests ({seen / len(during):.1%})",
        ),
    ]


def _memory(phases: Mapping[str, Mapping[int, int]]) -> ExpectedResult:
    before, last = phases["before"], phases[f"after {BAD}"]
    peak = phases[f"maximum during the rollout of {GOOD}"]
    added = {pid: peak[pid] - before[pid] for pid in before}
    kept = {pid: last.get(pid, 0) - before[pid] for pid in before}
    return ExpectedResult(
        "every replica has the memory of one model again",
        all(kept[pid] <= _KEPT_FRACTION * added[pid] for pid in before),
        f"a second model added up to {max(added.values()) / 1e6:.0f} MB, "
        f"{max(kept.values()) / 1e6:.0f} MB remained",
    )


def _teller(on_progress: Callable[[str], None]) -> Callable[[Rollout, str, Decision | None], None]:
    return lambda rollout, line, decision: on_progress(f"  {rollout.state:<12} {line}")
