"""The controller: carries a rollout from where its journal says it is to an end. All effects are here.

Every entry of the journal is written before what it leads to is done, and everything done may be done twice.
So a controller that dies anywhere is taken up by the next one, which reads the journal and goes on.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any

from cluster.rollout.aliases import Aliases, NoAliases
from cluster.rollout.decision import Decision, Verdict, decide
from cluster.rollout.duration import LittleTraffic, fitted
from cluster.rollout.effects import RAISED, Effects
from cluster.rollout.errors import (
    Busy,
    ForeignChange,
    InvalidState,
    LeaseLost,
    SourceFailed,
    TargetFailed,
    TargetRefused,
)
from cluster.rollout.journals import AnyJournal
from cluster.rollout.observations import Window
from cluster.rollout.plan import Plan, steps
from cluster.rollout.samples import Reading, Source, between, counts_of, failed_loads, pods_of, version_of
from cluster.rollout.states import Command, Rollout, Side, State, Verb, after, require
from cluster.rollout.target import Mix, Serving, Target

Clock = Callable[[], float]
"""Unix time in seconds: it is written down, and read by another process. It never goes back."""
Tell = Callable[[Rollout, str, Decision | None], None]
"""Told each step: the rollout, a line for people, and the decision that was just made, if one was."""

_LOOK_S = 1.0
"""Between two looks at the cluster, or at what a person asks for."""
_PATIENCE_S = 120.0
"""For another controller to take a command: the lease of one that was killed, and half a minute."""


class Controller:
    """Works on one rollout at a time, with the journal's lock held.

    Args:
        journal: where it stands.
        target: what serves.
        source: what is observed.
        aliases: of the registry.
        clock: Unix time; by default `steady_clock`.
        sleep: waits for seconds.
        tell: told each step.
    """

    def __init__(
        self,
        journal: AnyJournal,
        target: Target,
        source: Source,
        *,
        aliases: Aliases | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        tell: Tell = lambda rollout, line, decision: None,
    ) -> None:
        self._journal = journal
        self._target = target
        self._source = source
        self._clock = clock or steady_clock()
        self._sleep = sleep
        self._tell = tell
        self._rollout = Rollout()
        self._before: Reading | None = None
        self._read_at = 0.0
        self._hold = False
        self._began = 0.0
        self._effects = Effects(journal, target, aliases or NoAliases())

    def start(
        self,
        canary: Side,
        plan: Plan,
        *,
        champion_version: str | None = None,
        model: str | None = None,
        raise_to_two: bool = False,
        hold: bool = False,
        little_traffic: LittleTraffic = LittleTraffic.REFUSE,
    ) -> Rollout:
        """Begin a rollout and carry it to its end; or go on with the one of this canary that is under way.

        Args:
            canary: what to try.
            plan: how.
            champion_version: what the registry calls the model that is served now.
            model: the registered model whose aliases move.
            raise_to_two: with one replica, have two until the end.
            hold: come back once the first stage is passed, and leave the canary there until `resume`.
            little_traffic: what to do where the stages would take longer than the plan allows.

        Raises:
            InvalidState: another rollout is under way, or the cluster is in no state to begin one.
            PlanInvalid: there are too few replicas, or too few requests.
            Busy: another controller is at work.
            TargetFailed: the cluster cannot be read or, for longer than the plan's time, changed back.
        """
        self._hold = hold
        with self._journal.held():
            self._rollout = self._journal.rollout()
            if not self._rollout.state.rests and self._rollout.canary.uri == canary.uri:
                self._say("taking up again")
                return self._run()
            require(self._rollout, Verb.START)
            serving = self._target.read()
            _check_fit(serving, canary)
            least = RAISED if raise_to_two else 0
            stages, replicas = steps(plan, max(serving.replicas, least)), max(serving.replicas, least)
            rate = self._observed_rate(serving.mix.champion, plan.window_s)
            if rate is not None:
                plan, expected = fitted(plan, stages, replicas, rate, little_traffic)
                self._say(expected)
            serving = self._target.read()  # others may have changed it meanwhile
            _check_fit(serving, canary)
            raised_from = serving.least if serving.replicas < RAISED and raise_to_two else None
            if (command := self._journal.asked()) is not None:
                self._journal.answered(command)  # it was for an earlier rollout
            self._write(
                "started",
                reason=f"{canary.uri} against {serving.mix.champion}",
                plan=plan.model_dump(mode="json"),
                champion=asdict(Side(serving.mix.champion, champion_version)),
                canary=asdict(canary),
                model=model,
                steps=[asdict(step) for step in stages],
                raised_from=raised_from,
                fence=serving.fence,
            )
            return self._run()

    def ask(self, verb: Verb) -> Rollout:
        """Promote or abort: by the controller at work, or here once there is none.

        A controller that was killed may keep its lock until its lease runs out; this is waited for.

        Returns:
            The rollout: on its way to what was asked for, by another controller, or at its end.

        Raises:
            InvalidState: the verb does not fit, or came too late.
            Busy: another controller holds the journal and does not answer.
        """
        self._rollout = self._journal.rollout()
        require(self._rollout, verb)
        command = Command(verb, self._rollout.number, uuid.uuid4().hex)
        self._journal.ask(command)
        self._say(f"{verb} is asked for; a controller at work takes it, or this one once there is none")
        end = self._clock() + _PATIENCE_S
        while self._journal.asked() == command:
            try:
                return self._done(command, self.resume())
            except LeaseLost:
                raise
            except Busy:
                pass
            if self._clock() >= end:
                raise Busy(
                    f"another controller holds the journal and has not taken {verb} within "
                    f"{_PATIENCE_S:.0f} s; it still may: see `rollout status`, end its process if it hangs"
                )
            self._sleep(_LOOK_S)
        return self._done(command, self._journal.rollout())

    def _done(self, command: Command, rollout: Rollout) -> Rollout:
        """The rollout, if the command was carried out. Raises InvalidState."""
        self._journal.answered(command)
        if all(entry.get("command") != command.token for entry in self._journal.entries()):
            raise InvalidState(
                f"{command.verb} came too late, or another command replaced it: rollout {rollout.number} is "
                f"{rollout.state} ({rollout.reason}); see `rollout history`"
            )
        return rollout

    def resume(self) -> Rollout:
        """Go on with what is under way.

        Raises:
            Busy: another controller is at work.
        """
        with self._journal.held():
            self._rollout = self._journal.rollout()
            return self._run()

    def _observed_rate(self, champion: str, seconds: float) -> float | None:
        """Answered requests per second of all pods, in a window before the rollout; None if unknown."""
        self._say(f"observing the rate of requests for {seconds:g} s")
        before, began = self._read(), self._clock()
        self._wait(seconds)
        after, took_s = self._read(), self._clock() - began
        if isinstance(before, str) or isinstance(after, str):
            return None
        version = version_of(after, champion)
        return None if version is None else counts_of(between(before, after), version).answered / took_s

    def _run(self) -> Rollout:
        self._before, self._began = None, self._clock()
        while not self._rollout.state.rests:
            try:
                if not self._heed():
                    self._step()
            except ForeignChange as error:
                self._write("stopped", reason=f"{error}{self._effects.so_far(self._rollout)}")
            except LeaseLost as error:
                raise LeaseLost(f"{error}{self._effects.so_far(self._rollout)}") from error
            if self._hold and self._rollout.held:
                break
        return self._rollout

    def _heed(self) -> bool:
        """Do what a person asks for, if it fits."""
        command = self._journal.asked()
        if command is None:
            return False
        if fits := self._fits(command):
            event = {Verb.ABORT: "rolling_back", Verb.PROMOTE: "promoting"}[command.verb]
            self._write(event, reason=f"{command.verb} by hand", command=command.token)
        self._journal.answered(command)  # else it is done, or came too late
        return fits

    def _fits(self, command: Command) -> bool:
        """Whether a command is for this rollout in this state."""
        if command.rollout not in (None, self._rollout.number):
            return False
        try:
            require(self._rollout, command.verb)
        except InvalidState:
            return False
        return True

    def _step(self) -> None:
        rollout = self._rollout
        if rollout.state is State.PROMOTING:
            self._promote()
        elif rollout.state is State.ROLLING_BACK:
            self._roll_back()
        elif rollout.applied_at is None:
            self._let_in()
        else:
            self._watch()

    def _let_in(self) -> None:
        """Put the stage's models in place."""
        rollout = self._rollout
        fault = self._settle()
        if fault is None:
            self._effects.move(rollout, "canary", rollout.canary.version)
            if rollout.raised_from is not None:
                fault = self._settle(self._effects.raise_replicas, replicas=RAISED)
        if fault is None:
            fault = self._settle(self._effects.apply, {rollout.mix})
        if fault is None:
            self._write("applied")
        elif fault:
            self._write("rolling_back", reason=fault)

    def _watch(self) -> None:
        """Observe one window and decide."""
        rollout = self._rollout
        plan = rollout.plan
        assert rollout.applied_at is not None
        before = self._before
        if self._wait(max(plan.settle_s, _LOOK_S) if before is None else plan.window_s):
            return
        now = self._read()
        if isinstance(now, str):  # the window goes on until every endpoint answers
            if self._clock() - rollout.applied_at >= plan.max_stage_s:
                reason = f"no metrics to decide by within {plan.max_stage_s:.0f} s (max_stage_s): {now}"
                self._write("rolling_back", reason=reason)
            return
        now = before.followed_by(now) if before else now
        seconds = self._clock() - self._read_at
        self._before, self._read_at = now, self._clock()
        if before is not None:
            self._observe(rollout, before, now, seconds)

    def _observe(self, rollout: Rollout, before: Reading, now: Reading, seconds: float) -> None:
        """Write down what was added between two readings, and decide."""
        added = between(before, now)
        champion, canary = version_of(now, rollout.champion.uri), version_of(now, rollout.canary.uri)
        window = Window(
            stage=rollout.stage,
            seconds=round(seconds, 3),
            champion=counts_of(added, champion),
            canary=counts_of(added, canary if canary != champion else None),
            failed=failed_loads(now),
            versions=(champion, canary),
        )
        self._write("observed", window=asdict(window))
        assert rollout.applied_at is not None
        decision = decide(
            self._rollout.windows,
            stage=rollout.stage,
            shadow=rollout.step.shadow,
            canary_uri=rollout.canary.uri,
            plan=rollout.plan,
            stage_s=self._clock() - rollout.applied_at,
        )
        if decision.verdict is not Verdict.ROLL_BACK and (fault := self._disturbed()):
            decision = Decision(Verdict.ROLL_BACK, fault, decision.findings)
        self._say(decision.reason, decision)
        if decision.verdict is Verdict.ROLL_BACK:
            self._write("rolling_back", reason=decision.reason)
        elif decision.verdict is Verdict.PROMOTE:
            last = rollout.stage + 1 == len(rollout.steps)
            hold = self._hold and rollout.stage == 0
            event = "held" if hold else "promoting" if last else "advanced"
            self._write(event, reason=decision.reason)
            self._before = None

    def _promote(self) -> None:
        """Have every pod serve the canary, which is then the champion."""
        rollout = self._rollout
        fault = self._settle(self._effects.apply, {rollout.mix})
        if fault is None and not self._wait(max(rollout.plan.settle_s, _LOOK_S)):
            reading = self._read()
            unconfirmed = reading if isinstance(reading, str) else self._unconfirmed(reading)
            if unconfirmed:
                if self._clock() - max(rollout.since, self._began) >= rollout.plan.apply_timeout_s:
                    raise SourceFailed(
                        f"the metrics do not confirm that every pod serves {rollout.canary.uri}: "
                        f"{unconfirmed}; the rollout stays {rollout.state}; go on with `rollout resume`, or "
                        "end it with `rollout abort`"
                    )
                return  # and read again
            assert isinstance(reading, Reading)
            reasons = [load.reason for load in failed_loads(reading) if load.uri == rollout.canary.uri]
            if reasons:
                fault = f"a pod could not load it: {reasons[0]}"
            else:
                self._effects.move(rollout, "champion", rollout.canary.version)
                self._effects.move(rollout, "canary", None)
                self._effects.put_back_replicas(rollout)
                self._write("promoted", reason=rollout.reason)
        if fault:
            self._write("rolling_back", reason=fault)

    def _unconfirmed(self, reading: Reading) -> str | None:
        """Why it is not known that every pod has done as it was told."""
        uri = self._rollout.canary.uri
        try:
            replicas = self._effects.serving(self._rollout).replicas
        except TargetFailed as error:
            return str(error)
        reported = pods_of(reading, uri)
        if reported >= replicas or any(load.uri == uri for load in failed_loads(reading)):
            return None
        return f"{reported} of {replicas} pods report it"

    def _roll_back(self) -> None:
        """Have every pod serve the champion."""
        rollout = self._rollout
        fault = self._settle(self._effects.apply, {rollout.mix})
        if fault is not None:
            raise TargetFailed(
                f"the champion is not back on every pod: {fault}; the rollout stays {rollout.state}; look at "
                "the cluster, then go on with `rollout resume`"
            )
        # A controller that died while it promoted may have moved the champion already.
        self._effects.restore(rollout, "champion", rollout.champion.version)
        self._effects.move(rollout, "canary", None)
        self._effects.put_back_replicas(rollout)
        self._write("rolled_back", reason=rollout.reason)

    def _settle(
        self,
        change: Callable[[Rollout], None] = lambda rollout: None,
        mixes: Collection[Mix] | None = None,
        replicas: int = 0,
    ) -> str | None:
        """Make a change, and wait until every pod has settled on one of some mixes, and there are so many.

        Args:
            change: of the pods; made again where the cluster did not answer.
            mixes: those that are waited for; None is any of this rollout.
            replicas: the fewest.

        Returns:
            None once it is done; what went wrong, within the plan's time; "" if a person asks for something.
        """
        plan, began, said, told = self._rollout.plan, self._clock(), "", False
        mixes = self._rollout.told if mixes is None else mixes
        while self._clock() - began < plan.apply_timeout_s:
            try:
                if not told:
                    change(self._rollout)
                    told = True
                serving = self._effects.serving(self._rollout)
                done = serving.replicas >= replicas and serving.mix in mixes
                if serving.settled and done:
                    return None
                if serving.failed and done:
                    return f"the cluster gave up: {serving.message}"
                said = serving.message
            except TargetRefused as error:
                return str(error)
            except TargetFailed as error:  # it may be back in a moment
                said = str(error)
                self._say(said)
            if self._wait(_LOOK_S):
                return ""
        late = f"not in place within {plan.apply_timeout_s:.0f} s (apply_timeout_s)"
        return f"{late}: {said or 'pods still load'}"

    def _disturbed(self) -> str | None:
        """Why the comparison no longer holds, if it does not. Raises ForeignChange."""
        try:
            serving = self._effects.serving(self._rollout)
        except TargetFailed as error:
            self._say(str(error))
            return None
        if serving.replicas <= self._rollout.step.pods:
            return f"scaled to {serving.replicas}, which leaves no pod of the champion to compare with"
        return None

    def _read(self) -> Reading | str:
        """A reading of all endpoints, or why there is none."""
        try:
            reading = self._source.read()
        except SourceFailed as error:
            self._say(str(error))
            return str(error)
        if not reading.missing:
            return reading
        fault = f"{', '.join(sorted(reading.missing))} did not answer"
        self._say(f"{fault}; the metrics are read again")
        return fault

    def _wait(self, seconds: float) -> bool:
        """Wait, but not when a person asks for something that fits; then True."""
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            command = self._journal.asked()
            if command is not None and self._fits(command):
                return True
            self._sleep(min(left, _LOOK_S))
        return False

    def _write(self, event: str, **members: Any) -> None:
        entry = {"event": event, "at": self._clock(), **members}
        rollout = after(self._rollout, entry)
        self._journal.write(entry)
        self._rollout = rollout
        if event != "observed":
            self._effects.forget()
            self._say(f"{event.replace('_', ' ')}: {rollout.reason}")

    def _say(self, line: str, decision: Decision | None = None) -> None:
        self._tell(self._rollout, line, decision)


def steady_clock(
    wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> Clock:
    """Unix time when this was called, and what has passed since; a clock that is set does not change it."""
    offset = wall() - monotonic()
    return lambda: offset + monotonic()


def _check_fit(serving: Serving, canary: Side) -> None:
    """Raise InvalidState if the cluster is in no state to begin with."""
    mix = serving.mix
    if mix.canary is not None:
        raise InvalidState(
            f"the pods already have a canary, {mix.canary}, that this journal knows nothing of; end the "
            "rollout it belongs to, or put user_config back by hand"
        )
    if serving.blocked:
        raise InvalidState(serving.blocked)
    if mix.champion == canary.uri:
        raise InvalidState(f"{canary.uri} is what every pod serves already")
    if not serving.settled:
        raise InvalidState(f"the deployment is still changing; wait until it has settled. {serving.message}")
