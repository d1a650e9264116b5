"""What the loop does next, and why: a pure function of what is known and of the time.

drift-check ──retrain──▶ retrain ──registered──▶ rollout ──promoted──▶ done
│ ok, drift             │ refused               │ rolled back
▼                       ▼                       ▼
wait                  blocked, for a while    blocked, for a while
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from cluster.rollout.states import State
from train.drift.findings import Level
from train.retraining.bounds import PaceBounds
from train.retraining.progress import Retraining


class Step(StrEnum):
    """What can be next."""

    WAIT = "wait"
    DRIFT_CHECK = "drift-check"
    RETRAIN = "retrain"
    ROLLOUT = "rollout"
    DONE = "done"
    BLOCKED = "blocked"

    @property
    def works(self) -> bool:
        """Whether there is something to carry out."""
        return self in (Step.DRIFT_CHECK, Step.RETRAIN, Step.ROLLOUT)


@dataclass(frozen=True, slots=True)
class Looked:
    """The last look for drift in the champion's answers."""

    champion: str
    since: datetime
    until: datetime
    """Also when it was made."""
    verdict: Level
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tried:
    """The last rollout of a bundle."""

    state: State
    reason: str
    at: datetime
    """Of its last transition."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    Attributes:
        model: the registered model.
        champion: its champion's version; None if it has none.
        under_way: address of the bundle whose rollout is under way, or None.
        came_by_rollout: whether the last rollout brought the champion.
        rows: the champion's answers since the last look, counted up to what a look needs.
        looked: the last look at the champion, or None.
        lacking: what there is too little of for a retraining on the look's window, in words.
        retraining: the champion's last one, or None.
        tried: the rollout of what that made, or None.
    """

    model: str
    champion: str | None
    under_way: str | None = None
    came_by_rollout: bool = False
    rows: int = 0
    looked: Looked | None = None
    lacking: tuple[str, ...] = ()
    retraining: Retraining | None = None
    tried: Tried | None = None


@dataclass(frozen=True, slots=True)
class Next:
    """The answer."""

    step: Step
    reason: str


def next_step(facts: Facts, pace: PaceBounds, *, least_rows: int, now: datetime) -> Next:
    """What to do next.

    Args:
        facts: What is known.
        pace: How often the loop acts.
        least_rows: New answers below which a look for drift is not worth making.
        now: With a time zone.
    """
    if facts.under_way is not None:
        return Next(Step.ROLLOUT, f"the rollout of {facts.under_way} is under way")
    if facts.champion is None:
        return Next(
            Step.BLOCKED,
            f"{facts.model} has no champion; register a version, then "
            f"`python -m train alias {facts.model}@champion VERSION`",
        )
    return _of_retraining(facts, pace, now) or _of_look(facts, pace, least_rows, now)


def _of_retraining(facts: Facts, pace: PaceBounds, now: datetime) -> Next | None:
    """What a retraining of this champion asks for, if anything."""
    made, tried = facts.retraining, facts.tried
    if made is None:
        return None
    if made.status == "under way":
        return Next(Step.RETRAIN, f"the retraining {made.version} was begun and is not finished")
    if made.status == "registered" and tried is None:
        return Next(Step.ROLLOUT, f"{made.reference} has passed the gate and was not tried yet")
    if made.status == "registered" and tried is not None:
        until = tried.at + pace.pause
        if now < until:
            return Next(
                Step.BLOCKED,
                f"{made.reference} is {tried.state.replace('_', ' ')}: {tried.reason}; "
                f"the next try is from {_time(until)} on",
            )
    if made.status == "refused" and now < (until := made.changed_at + pace.pause):
        return Next(
            Step.BLOCKED,
            f"the gate refused {made.version}: {'; '.join(made.reasons)}; the next try is from "
            f"{_time(until)} on",
        )
    return None


def _of_look(facts: Facts, pace: PaceBounds, least_rows: int, now: datetime) -> Next:
    looked, made = facts.looked, facts.retraining
    of_it = made if looked is not None and made is not None and made.until == looked.until else None
    if looked is not None and looked.verdict == "retrain" and of_it is None and not facts.lacking:
        return Next(Step.RETRAIN, f"the last look found: {'; '.join(looked.reasons)}")
    if looked is None or now >= looked.until + pace.look:
        if facts.rows >= least_rows:
            since = "no look was made yet" if looked is None else f"the last look was {_time(looked.until)}"
            return Next(Step.DRIFT_CHECK, f"{since}, and there are {least_rows:,} answers or more")
        few = f"{facts.rows:,} new answers of {facts.champion}; a look for drift needs {least_rows:,}"
        if looked is None and facts.came_by_rollout:
            return Next(Step.DONE, f"{facts.model}/{facts.champion} is on every pod; {few}")
        return Next(Step.WAIT, few)
    after = f"the next look is from {_time(looked.until + pace.look)} on"
    if looked.verdict != "retrain":
        said = "; ".join(looked.reasons) or "nothing has changed"
        return Next(Step.WAIT, f"the last look found {looked.verdict}: {said}; {after}")
    if of_it is not None:
        why = "; ".join(of_it.reasons) or of_it.status
        return Next(Step.WAIT, f"the last window was retrained on already: {why}; {after}")
    return Next(Step.WAIT, f"a retraining lacks labels: {'; '.join(facts.lacking)}; {after}")


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
