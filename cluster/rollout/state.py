"""State machine of a rollout; a rollout is the fold over the entries of its journal. Pure functions.

    idle ──start──> canary ──promote──> promoting ──> promoted
                      │                     │
                      └──────abort──────────┴──> rolling_back ──> rolled_back

From each of the three middle states, a change by others leads to `stopped`, and that change is kept. `idle`,
`promoted`, `rolled_back` and `stopped` are resting states: only they permit `start`. The others are active
states, in which a controller continues from the point where an earlier one ended. An entry that leads into an
active state records the intention; `applied`, and the entries that lead to a resting state, are written after
the change is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from cluster.rollout.errors import JournalCorruptedError, RolloutStateError
from cluster.rollout.metric_window import Counts, MetricWindow, ModelLoadFailure
from cluster.rollout.plan import CanaryPods, RolloutPlan
from cluster.rollout.targets.base import TrafficSplit


class RolloutState(StrEnum):
    """States of a rollout."""

    IDLE = "idle"
    CANARY = "canary"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    STOPPED = "stopped"

    @property
    def rests(self) -> bool:
        """Return whether the rollout is inactive."""
        return self in _REST


_REST = (RolloutState.IDLE, RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.STOPPED)


class Verb(StrEnum):
    """Commands of a person."""

    START = "start"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Command:
    """Command of a person to the running controller.

    Attributes:
        verb: promote or abort.
        rollout: number of the rollout that it is for; None in commands of earlier versions.
        token: identifier that distinguishes two otherwise equal commands.
    """

    verb: Verb
    rollout: int | None = None
    token: str = ""


_FITS = {
    Verb.START: _REST,
    Verb.PROMOTE: (RolloutState.CANARY,),
    Verb.ABORT: (RolloutState.CANARY, RolloutState.PROMOTING),
}

_LEADS = {
    # event: (states that permit it, state it leads to)
    "started": (_REST, RolloutState.CANARY),
    "applied": ((RolloutState.CANARY,), RolloutState.CANARY),
    "observed": ((RolloutState.CANARY,), RolloutState.CANARY),
    "advanced": ((RolloutState.CANARY,), RolloutState.CANARY),
    "held": ((RolloutState.CANARY,), RolloutState.CANARY),
    "promoting": ((RolloutState.CANARY,), RolloutState.PROMOTING),
    "promoted": ((RolloutState.PROMOTING,), RolloutState.PROMOTED),
    "rolling_back": ((RolloutState.CANARY, RolloutState.PROMOTING), RolloutState.ROLLING_BACK),
    "rolled_back": ((RolloutState.ROLLING_BACK,), RolloutState.ROLLED_BACK),
    "stopped": (
        (RolloutState.CANARY, RolloutState.PROMOTING, RolloutState.ROLLING_BACK),
        RolloutState.STOPPED,
    ),
}
EVENTS = tuple(_LEADS)

Entry = Mapping[str, Any]
"""Entry of the journal: `event`, `at` (Unix time, seconds), and the members of the event."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One of the two models: its address, and its version in the registry where there is one."""

    uri: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """Complete data of a rollout at one point of its journal, as a controller needs it.

    Attributes:
        state: current state.
        number: number of the rollout in this journal, from 1; 0 before the first.
        plan: plan at the start.
        champion: model that every pod served at the start.
        canary: model under trial.
        model: registered model whose aliases move, or None.
        steps: stages, in pods.
        stage: number of the current stage.
        applied_at: Unix time at which the models of the stage were deployed; None before that.
        held: whether the stage is passed, and the rollout waits for approval.
        windows: observed windows.
        raised_from: replicas before the rollout, if it raised them; None if it did not.
        reason: reason of the last transition.
        since: Unix time of the last transition.
        configured: splits that the pods may have been configured with since a split was last confirmed.
        fence: number of the last transition; it rises from rollout to rollout of a service.
    """

    state: RolloutState = RolloutState.IDLE
    number: int = 0
    plan: RolloutPlan = field(default_factory=RolloutPlan)
    champion: ModelVersion = ModelVersion("")
    canary: ModelVersion = ModelVersion("")
    model: str | None = None
    steps: tuple[CanaryPods, ...] = ()
    stage: int = 0
    applied_at: float | None = None
    held: bool = False
    windows: tuple[MetricWindow, ...] = ()
    raised_from: int | None = None
    reason: str = ""
    since: float = 0.0
    configured: frozenset[TrafficSplit] = frozenset()
    fence: int = 0

    @property
    def step(self) -> CanaryPods:
        """Return the current stage."""
        return self.steps[self.stage]

    @property
    def split(self) -> TrafficSplit:
        """Return the split that the pods should serve in the current state."""
        if self.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK):
            return TrafficSplit(self.champion.uri)
        if self.state in (RolloutState.PROMOTING, RolloutState.PROMOTED):
            return TrafficSplit(self.canary.uri)
        return TrafficSplit(self.champion.uri, self.canary.uri, self.step)


def parse_command(text: str) -> Command | None:
    """Parse a stored command: a JSON object or, from earlier versions, a verb alone.

    Return None if invalid.
    """
    try:
        given: Any = json.loads(text) if text.startswith("{") else {"verb": text}
        rollout = given.get("rollout")
        return Command(Verb(given["verb"]), None if rollout is None else int(rollout), given.get("token", ""))
    except (LookupError, TypeError, ValueError):
        return None


def require(rollout: Rollout, verb: Verb) -> None:
    """Raise RolloutStateError if a verb does not fit."""
    if rollout.state not in _FITS[verb]:
        fits = ", ".join(_FITS[verb])
        raise RolloutStateError(
            f"{verb} is for a rollout that is {fits}; this one is {rollout.state} "
            f"(rollout {rollout.number}: {rollout.reason or 'none yet'})"
        )


def replay(entries: Iterable[Entry]) -> Rollout:
    """Return the rollout that results from journal entries.

    Raises JournalCorruptedError if their order is impossible.
    """
    rollout = Rollout()
    for entry in entries:
        rollout = after(rollout, entry)
    return rollout


def after(rollout: Rollout, entry: Entry) -> Rollout:
    """Return the rollout after one more entry; raises as `replay`."""
    event = entry.get("event")
    if event not in _LEADS or rollout.state not in _LEADS[event][0]:
        raise JournalCorruptedError(
            f"{event!r} cannot follow in state {rollout.state} (rollout {rollout.number})"
        )
    try:
        taken = replace(_take(rollout, event, entry), state=_LEADS[event][1])
        return taken if taken.state.rests else replace(taken, configured=taken.configured | {taken.split})
    except (KeyError, TypeError, ValueError) as error:
        raise JournalCorruptedError(
            f"the entry {event!r} of rollout {rollout.number} is not whole: {error!r}"
        ) from error


def _take(rollout: Rollout, event: str, entry: Entry) -> Rollout:
    if event == "observed":
        return replace(rollout, windows=(*rollout.windows, _window(entry["window"])))
    if event == "applied":
        return replace(rollout, applied_at=float(entry["at"]), held=False, configured=frozenset())
    told = replace(
        rollout,
        reason=str(entry.get("reason", "")),
        since=float(entry["at"]),
        applied_at=None,
        held=event == "held",
        fence=rollout.fence + 1,
    )
    if event == "advanced":
        return replace(told, stage=rollout.stage + 1)
    if event == "started":
        return Rollout(
            number=rollout.number + 1,
            plan=RolloutPlan.model_validate(entry["plan"]),
            champion=ModelVersion(**entry["champion"]),
            canary=ModelVersion(**entry["canary"]),
            model=entry["model"],
            steps=tuple(CanaryPods(**step) for step in entry["steps"]),
            raised_from=entry["raised_from"],
            reason=told.reason,
            since=told.since,
            configured=frozenset((TrafficSplit(entry["champion"]["uri"]),)),
            # The number of the last change that an earlier rollout, of this journal or another, wrote to the
            # pods.
            fence=max(told.fence, int(entry.get("fence", 0)) + 1),
        )
    return told


def _window(given: Mapping[str, Any]) -> MetricWindow:
    def counts(of: Mapping[str, Any]) -> Counts:
        # Journals of earlier releases contain counts of texts instead of requests. They are left out: the two
        # do not compare.
        known = {name: value for name, value in of.items() if name in Counts.__dataclass_fields__}
        for name in ("latency", "score_shares"):
            known[name] = tuple(known.get(name, getattr(Counts(), name)))
        return Counts(**known)

    return MetricWindow(
        stage=given["stage"],
        seconds=given["seconds"],
        champion=counts(given["champion"]),
        canary=counts(given["canary"]),
        failed=tuple(ModelLoadFailure(**failed) for failed in given["failed"]),
        versions=(given["versions"][0], given["versions"][1]),
    )
