"""Execution of one step of the loop. A step that fails or is killed becomes the next step again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from cluster.loop.errors import LoopFailed
from cluster.loop.facts import read_facts, write_look
from cluster.loop.step import Facts, Looked, Next, Step, next_step
from cluster.rollout.journal import Journal
from serve_app.errors import BundleError
from serve_app.model.resolver import fetch
from train.drift.measuring import look
from train.drift.report import write_report
from train.drift.thresholds import Thresholds
from train.errors import TrainError
from train.models import CACHE
from train.registry.aliases import CHAMPION
from train.retraining.retrain import Retrainer

RollOut = Callable[[str], None]
"""Function that runs the rollout of an address, `registry:NAME/VERSION`, to its end."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Training loop of one model.

    Attributes:
        model: name of the registered model.
        retrainer: retrainer with registry, log, folder and clock.
        drift: thresholds of a drift check.
        journal: journal of the rollouts.
        roll_out: starts a rollout.
        go_on: continues the active rollout.
    """

    model: str
    retrainer: Retrainer
    drift: Thresholds
    journal: Journal
    roll_out: RollOut
    go_on: Callable[[], None]

    def decide(self) -> tuple[Facts, Next]:
        """Read the facts and decide the next step. Raises LoopFailed."""
        with _translated():
            least = self.drift.evidence.min_rows
            facts = read_facts(self.model, self.retrainer, self.journal, least_rows=least)
            pace, now = self.retrainer.bounds.pace, self.retrainer.now()
            return facts, next_step(facts, pace, least_rows=least, now=now)

    def carry_out(self, facts: Facts, step: Step) -> None:
        """Execute the step that `decide` returned. Raises LoopFailed, and ClusterError from a rollout."""
        with _translated():
            if step is Step.DRIFT_CHECK:
                self._look()
            elif step is Step.RETRAIN:
                window = facts.retraining if _unfinished(facts) else facts.looked
                assert window is not None  # otherwise this step would not be next
                self.retrainer.retrain(self.model, window.since, window.until)
            elif step is Step.ROLLOUT:
                if facts.under_way is not None:
                    self.go_on()
                else:
                    assert facts.retraining is not None
                    self.roll_out(facts.retraining.reference)

    def _look(self) -> None:
        retrainer = self.retrainer
        champion = retrainer.registry.get(f"{self.model}@{CHAMPION}")
        until = retrainer.now()
        since = until - timedelta(hours=retrainer.bounds.window.hours)
        found = look(
            retrainer.log,
            fetch(champion.uri, cache_dir=CACHE),
            self.drift,
            since=since,
            until=until,
            tell=retrainer.tell,
        )
        write_report(found, retrainer.work / "looks" / f"{until:%Y%m%dT%H%M%S}", until)
        report = found.report
        write_look(retrainer.work, Looked(champion.version, since, until, report.verdict, report.reasons))


def _unfinished(facts: Facts) -> bool:
    return facts.retraining is not None and facts.retraining.status == "under way"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (TrainError, BundleError) as error:
        raise LoopFailed(f"{error}; the same call tries again") from error
