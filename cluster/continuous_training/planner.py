"""Decision on the next step of the loop: a pure function of the observed state and the time.

drift-check ──retrain──▶ retrain ──registered──▶ rollout ──promoted──▶ done
│ ok, drift             │ refused               │ rolled back
▼                       ▼                       ▼
wait                  blocked, for a while    blocked, for a while
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from cluster.rollout.state import RolloutState
from train.drift.results import Level
from train.retraining.config import PaceBounds
from train.retraining.state import Retraining


class LoopStep(StrEnum):
    """Steps of the loop."""

    WAIT = "wait"
    DRIFT_CHECK = "drift-check"
    RETRAIN = "retrain"
    ROLLOUT = "rollout"
    DONE = "done"
    BLOCKED = "blocked"

    @property
    def works(self) -> bool:
        """Return whether the step has something to execute."""
        return self in (LoopStep.DRIFT_CHECK, LoopStep.RETRAIN, LoopStep.ROLLOUT)


@dataclass(frozen=True, slots=True)
class LastDriftCheck:
    """Last drift check of the champion's predictions."""

    champion: str
    since: datetime
    until: datetime
    """End of the window, and the time of the check."""
    verdict: Level
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LastRollout:
    """Last rollout of a bundle."""

    state: RolloutState
    reason: str
    at: datetime
    """Time of its last transition."""


@dataclass(frozen=True, slots=True)
class ObservedState:
    """Inputs of the decision.

    Attributes:
        model: the registered model.
        champion: version of its champion; None if it has none.
        under_way: address of the bundle whose rollout is active, or None.
        came_by_rollout: whether the last rollout promoted the current champion.
        rows: the champion's predictions since the last drift check, counted up to what a check needs.
        last_drift_check: last drift check of the champion, or None.
        missing_labels: labels that are too few for a retraining on the window of the check, as text.
        retraining: last retraining of the champion, or None.
        last_rollout: rollout of the retrained version, or None.
    """

    model: str
    champion: str | None
    under_way: str | None = None
    came_by_rollout: bool = False
    rows: int = 0
    last_drift_check: LastDriftCheck | None = None
    missing_labels: tuple[str, ...] = ()
    retraining: Retraining | None = None
    last_rollout: LastRollout | None = None


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """Next step with its reason."""

    step: LoopStep
    reason: str


def next_step(observed: ObservedState, pace: PaceBounds, *, min_rows: int, now: datetime) -> PlannedStep:
    """Decide the next step.

    Args:
        observed: Inputs of the decision.
        pace: Bounds of how often the loop acts.
        min_rows: Minimum number of new predictions for a drift check.
        now: Current time, with a time zone.
    """
    if observed.under_way is not None:
        return PlannedStep(LoopStep.ROLLOUT, f"the rollout of {observed.under_way} is under way")
    if observed.champion is None:
        return PlannedStep(
            LoopStep.BLOCKED,
            f"{observed.model} has no champion; register a version, then "
            f"`python -m train alias {observed.model}@champion VERSION`",
        )
    return _of_retraining(observed, pace, now) or _of_drift_check(observed, pace, min_rows, now)


def _of_retraining(observed: ObservedState, pace: PaceBounds, now: datetime) -> PlannedStep | None:
    """Return the step that follows from a retraining of this champion, or None."""
    made, tried = observed.retraining, observed.last_rollout
    if made is None:
        return None
    if made.status == "under way":
        return PlannedStep(LoopStep.RETRAIN, f"the retraining {made.version} is not finished")
    if made.status == "registered" and tried is None:
        return PlannedStep(
            LoopStep.ROLLOUT, f"{made.reference} has passed the gate and was not rolled out yet"
        )
    if made.status == "registered" and tried is not None:
        until = tried.at + pace.pause
        if now < until:
            return PlannedStep(
                LoopStep.BLOCKED,
                f"{made.reference} is {tried.state.replace('_', ' ')}: {tried.reason}; "
                f"the next rollout is possible from {_time(until)}",
            )
    if made.status == "refused" and now < (until := made.changed_at + pace.pause):
        return PlannedStep(
            LoopStep.BLOCKED,
            f"the gate refused {made.version}: {'; '.join(made.reasons)}; the next retraining is possible "
            f"from {_time(until)}",
        )
    return None


def _of_drift_check(observed: ObservedState, pace: PaceBounds, min_rows: int, now: datetime) -> PlannedStep:
    last, made = observed.last_drift_check, observed.retraining
    of_it = made if last is not None and made is not None and made.until == last.until else None
    if last is not None and last.verdict == "retrain" and of_it is None and not observed.missing_labels:
        return PlannedStep(LoopStep.RETRAIN, f"the last drift check: {'; '.join(last.reasons)}")
    if last is None or now >= last.until + pace.look:
        if observed.rows >= min_rows:
            since = "no drift check yet" if last is None else f"the last drift check was {_time(last.until)}"
            return PlannedStep(LoopStep.DRIFT_CHECK, f"{since}; at least {min_rows:,} new predictions")
        few = f"{observed.rows:,} new predictions of {observed.champion}; a drift check requires {min_rows:,}"
        if last is None and observed.came_by_rollout:
            return PlannedStep(LoopStep.DONE, f"{observed.model}/{observed.champion} is on every pod; {few}")
        return PlannedStep(LoopStep.WAIT, few)
    after = f"the next drift check is possible from {_time(last.until + pace.look)}"
    if last.verdict != "retrain":
        reasons = "; ".join(last.reasons) or "no change"
        return PlannedStep(LoopStep.WAIT, f"the last drift check: {last.verdict}: {reasons}; {after}")
    if of_it is not None:
        why = "; ".join(of_it.reasons) or of_it.status
        return PlannedStep(
            LoopStep.WAIT, f"the last window was already used for a retraining: {why}; {after}"
        )
    return PlannedStep(
        LoopStep.WAIT, f"too few labels for a retraining: {'; '.join(observed.missing_labels)}; {after}"
    )


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
