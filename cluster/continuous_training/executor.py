"""Execution of one step of the loop. A step that fails or is killed becomes the next step again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from cluster.continuous_training.errors import ContinuousTrainingError
from cluster.continuous_training.observed_state import observe, write_last_drift_check
from cluster.continuous_training.planner import (
    LastDriftCheck,
    LoopStep,
    ObservedState,
    PlannedStep,
    next_step,
)
from cluster.rollout.journal.file import FileJournal
from serve_app.errors import BundleError
from serve_app.model.resolver import fetch
from train.drift.detector import check_drift
from train.drift.report import write_report
from train.drift.thresholds import DriftThresholds
from train.errors import TrainError
from train.model_uri import CACHE
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
    drift: DriftThresholds
    journal: FileJournal
    roll_out: RollOut
    go_on: Callable[[], None]

    def decide(self) -> tuple[ObservedState, PlannedStep]:
        """Read the observed state and decide the next step. Raises ContinuousTrainingError."""
        with _translated():
            least = self.drift.evidence.min_rows
            observed = observe(self.model, self.retrainer, self.journal, min_rows=least)
            pace, now = self.retrainer.bounds.pace, self.retrainer.now()
            return observed, next_step(observed, pace, min_rows=least, now=now)

    def execute(self, observed: ObservedState, step: LoopStep) -> None:
        """Execute the step that `decide` returned.

        Raises ContinuousTrainingError, and ClusterError from a rollout.
        """
        with _translated():
            if step is LoopStep.DRIFT_CHECK:
                self._look()
            elif step is LoopStep.RETRAIN:
                window = observed.retraining if _unfinished(observed) else observed.last_drift_check
                assert window is not None  # otherwise this step would not be next
                self.retrainer.retrain(self.model, window.since, window.until)
            elif step is LoopStep.ROLLOUT:
                if observed.under_way is not None:
                    self.go_on()
                else:
                    assert observed.retraining is not None
                    self.roll_out(observed.retraining.reference)

    def _look(self) -> None:
        retrainer = self.retrainer
        champion = retrainer.registry.get(f"{self.model}@{CHAMPION}")
        until = retrainer.now()
        since = until - timedelta(hours=retrainer.bounds.window.hours)
        found = check_drift(
            retrainer.log,
            fetch(champion.uri, cache_dir=CACHE),
            self.drift,
            since=since,
            until=until,
            on_progress=retrainer.on_progress,
        )
        write_report(found, retrainer.work / "looks" / f"{until:%Y%m%dT%H%M%S}", until)
        report = found.report
        write_last_drift_check(
            retrainer.work, LastDriftCheck(champion.version, since, until, report.verdict, report.reasons)
        )


def _unfinished(observed: ObservedState) -> bool:
    return observed.retraining is not None and observed.retraining.status == "under way"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (TrainError, BundleError) as error:
        raise ContinuousTrainingError(f"{error}; the same command retries") from error
