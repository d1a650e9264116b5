"""Rollout controller: continues a rollout from the state in its journal to its end, and makes all changes.

The controller writes a journal entry before it makes the change that the entry announces, and every change is
idempotent. If a controller dies at any point, the next controller reads the journal and continues.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any

from cluster.rollout.aliases import Aliases, NoAliases
from cluster.rollout.analysis import CanaryVerdict, Decision, decide
from cluster.rollout.duration import LittleTraffic, fitted
from cluster.rollout.effects import RAISED, Effects
from cluster.rollout.errors import (
    ForeignChangeError,
    JournalLockedError,
    LeaseLostError,
    MetricSourceError,
    RolloutStateError,
    TargetError,
    TargetRejectedError,
)
from cluster.rollout.journal.base import Journal
from cluster.rollout.metric_sources import (
    MetricSource,
    Reading,
    between,
    counts_of,
    failed_loads,
    pods_of,
    precisions_of,
    version_of,
)
from cluster.rollout.metric_window import MetricWindow
from cluster.rollout.plan import RolloutPlan, steps
from cluster.rollout.state import Command, ModelVersion, Rollout, RolloutState, Verb, after, require
from cluster.rollout.targets.base import DeploymentState, Target, TrafficSplit

Clock = Callable[[], float]
"""Unix time in seconds, monotonic: it is stored in the journal and read by other processes."""
OnProgress = Callable[[Rollout, str, Decision | None], None]
"""Progress callback: receives the rollout, a message, and the decision that was just made, or None."""

_LOOK_S = 1.0
"""Seconds between two reads of the cluster state or of the pending command."""
_PATIENCE_S = 120.0
"""Seconds that a command waits for another controller: the lease of a killed controller, plus 30 s."""


class Controller:
    """Controller of one rollout at a time, which holds the lock of the journal while it runs.

    Args:
        journal: stored state of the rollout.
        target: deployment that serves the models.
        source: source of the metrics.
        aliases: registry aliases; by default none are moved.
        clock: Unix time; by default `steady_clock`.
        sleep: waits for a number of seconds.
        on_progress: progress callback.
    """

    def __init__(
        self,
        journal: Journal,
        target: Target,
        source: MetricSource,
        *,
        aliases: Aliases | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
        on_progress: OnProgress = lambda rollout, line, decision: None,
    ) -> None:
        self._journal = journal
        self._target = target
        self._source = source
        self._clock = clock or steady_clock()
        self._sleep = sleep
        self._on_progress = on_progress
        self._rollout = Rollout()
        self._before: Reading | None = None
        self._read_at = 0.0
        self._hold = False
        self._began = 0.0
        self._effects = Effects(journal, target, aliases or NoAliases())

    def start(
        self,
        canary: ModelVersion,
        plan: RolloutPlan,
        *,
        champion_version: str | None = None,
        model: str | None = None,
        raise_to_two: bool = False,
        hold: bool = False,
        little_traffic: LittleTraffic = LittleTraffic.REFUSE,
    ) -> Rollout:
        """Start a rollout and run it to its end, or continue the active rollout if it has the same canary.

        Args:
            canary: model under trial.
            plan: stages, sample sizes and tolerances.
            champion_version: registry version of the model that is served now.
            model: registered model whose aliases move.
            raise_to_two: scale a deployment with one replica to two until the rollout ends.
            hold: return after the first stage has passed, and keep the canary in that stage until `resume`.
            little_traffic: reaction if a stage would take longer than the plan allows.

        Raises:
            RolloutStateError: another rollout is active, or the cluster does not permit a rollout.
            RolloutPlanError: the deployment has too few replicas, or the request rate is too low.
            JournalLockedError: another controller holds the journal.
            TargetError: the cluster cannot be read, or cannot be rolled back within the plan's timeout.
        """
        self._hold = hold
        with self._journal.held():
            self._rollout = self._journal.rollout()
            if not self._rollout.state.rests and self._rollout.canary.uri == canary.uri:
                self._say("resuming")
                return self._run()
            require(self._rollout, Verb.START)
            serving = self._target.read()
            _check_fit(serving, canary)
            replicas = max(serving.replicas, RAISED if raise_to_two else 0)
            stages = steps(plan, replicas)
            rate = self._observed_rate(serving.split.champion, plan.window_s)
            if rate is not None:
                plan, expected = fitted(plan, stages, replicas, rate, little_traffic)
                self._say(expected)
            serving = self._target.read()  # others may have changed it meanwhile
            _check_fit(serving, canary)
            raised_from = serving.least if serving.replicas < RAISED and raise_to_two else None
            if (command := self._journal.asked()) is not None:
                self._journal.answered(command)  # it was meant for an earlier rollout
            self._write(
                "started",
                reason=f"{canary.uri} against {serving.split.champion}",
                plan=plan.model_dump(mode="json"),
                champion=asdict(ModelVersion(serving.split.champion, champion_version)),
                canary=asdict(canary),
                model=model,
                steps=[asdict(step) for step in stages],
                raised_from=raised_from,
                fence=serving.fence,
            )
            return self._run()

    def ask(self, verb: Verb) -> Rollout:
        """Request that the running controller promotes or aborts, or do it here if no controller runs.

        A killed controller may hold its lock until its lease expires; this method waits for that.

        Returns:
            The rollout: in transition to the requested state under another controller, or at its end.

        Raises:
            RolloutStateError: the verb does not fit the state, or the command came too late.
            JournalLockedError: another controller holds the journal and does not accept the command.
        """
        self._rollout = self._journal.rollout()
        require(self._rollout, verb)
        command = Command(verb, self._rollout.number, uuid.uuid4().hex)
        self._journal.ask(command)
        self._say(f"{verb} is requested; the running controller executes it, or this one if none runs")
        end = self._clock() + _PATIENCE_S
        while self._journal.asked() == command:
            try:
                return self._done(command, self.resume())
            except LeaseLostError:
                raise
            except JournalLockedError:
                pass
            if self._clock() >= end:
                raise JournalLockedError(
                    f"another controller holds the journal and has not executed {verb} within "
                    f"{_PATIENCE_S:.0f} s; the command stays pending: see `rollout status`, and end the "
                    "controller's process if it hangs"
                )
            self._sleep(_LOOK_S)
        return self._done(command, self._journal.rollout())

    def _done(self, command: Command, rollout: Rollout) -> Rollout:
        """Return the rollout if the command was executed. Raises RolloutStateError."""
        self._journal.answered(command)
        if all(entry.get("command") != command.token for entry in self._journal.entries()):
            raise RolloutStateError(
                f"{command.verb} came too late, or another command replaced it: rollout {rollout.number} is "
                f"{rollout.state} ({rollout.reason}); see `rollout history`"
            )
        return rollout

    def resume(self) -> Rollout:
        """Continue the active rollout.

        Raises:
            JournalLockedError: another controller holds the journal.
        """
        with self._journal.held():
            self._rollout = self._journal.rollout()
            return self._run()

    def _observed_rate(self, champion: str, seconds: float) -> float | None:
        """Return the answered requests/s of all pods in a window before the rollout; None if unknown."""
        self._say(f"measuring the request rate for {seconds:g} s")
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
                if not self._handle_operator_request():
                    self._step()
            except ForeignChangeError as error:
                self._write("stopped", reason=f"{error}{self._effects.so_far(self._rollout)}")
            except LeaseLostError as error:
                raise LeaseLostError(f"{error}{self._effects.so_far(self._rollout)}") from error
            if self._hold and self._rollout.held:
                break
        return self._rollout

    def _handle_operator_request(self) -> bool:
        """Execute the pending command if it fits the state; return whether it does."""
        command = self._journal.asked()
        if command is None:
            return False
        if fits := self._fits(command):
            event = {Verb.ABORT: "rolling_back", Verb.PROMOTE: "promoting"}[command.verb]
            self._write(event, reason=f"{command.verb} by command", command=command.token)
        self._journal.answered(command)  # a command that does not fit is already done, or came too late
        return fits

    def _fits(self, command: Command) -> bool:
        """Return whether a command is meant for this rollout and fits its state."""
        if command.rollout not in (None, self._rollout.number):
            return False
        try:
            require(self._rollout, command.verb)
        except RolloutStateError:
            return False
        return True

    def _step(self) -> None:
        rollout = self._rollout
        if rollout.state is RolloutState.PROMOTING:
            self._promote()
        elif rollout.state is RolloutState.ROLLING_BACK:
            self._roll_back()
        elif rollout.applied_at is None:
            self._apply_stage()
        else:
            self._watch()

    def _apply_stage(self) -> None:
        """Deploy the models of the stage."""
        rollout = self._rollout
        fault = self._settle()
        if fault is None:
            self._effects.move(rollout, "canary", rollout.canary.version)
            if rollout.raised_from is not None:
                fault = self._settle(self._effects.raise_replicas, replicas=RAISED)
        if fault is None:
            fault = self._settle(self._effects.apply, {rollout.split})
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
        if isinstance(now, str):  # the window stays open until every endpoint answers
            if self._clock() - rollout.applied_at >= plan.max_stage_s:
                reason = f"no usable metrics within {plan.max_stage_s:.0f} s (max_stage_s): {now}"
                self._write("rolling_back", reason=reason)
            return
        now = before.followed_by(now) if before else now
        seconds = self._clock() - self._read_at
        self._before, self._read_at = now, self._clock()
        if before is not None:
            self._observe(rollout, before, now, seconds)

    def _observe(self, rollout: Rollout, before: Reading, now: Reading, seconds: float) -> None:
        """Store the counts between two readings in the journal, and decide."""
        added = between(before, now)
        champion, canary = version_of(now, rollout.champion.uri), version_of(now, rollout.canary.uri)
        window = MetricWindow(
            stage=rollout.stage,
            seconds=round(seconds, 3),
            champion=counts_of(added, champion),
            canary=counts_of(added, canary if canary != champion else None),
            failed=failed_loads(now),
            versions=(champion, canary),
        )
        self._write("observed", window=asdict(window))
        if not rollout.windows:
            self._compare_precisions(now)
        assert rollout.applied_at is not None
        decision = decide(
            self._rollout.windows,
            stage=rollout.stage,
            shadow=rollout.step.shadow,
            canary_uri=rollout.canary.uri,
            plan=rollout.plan,
            stage_s=self._clock() - rollout.applied_at,
        )
        if decision.verdict is not CanaryVerdict.ROLL_BACK and (fault := self._disturbed()):
            decision = Decision(CanaryVerdict.ROLL_BACK, fault, decision.findings)
        self._say(decision.reason, decision)
        if decision.verdict is CanaryVerdict.ROLL_BACK:
            self._write("rolling_back", reason=decision.reason)
        elif decision.verdict is CanaryVerdict.PROMOTE:
            last = rollout.stage + 1 == len(rollout.steps)
            hold = self._hold and rollout.stage == 0
            event = "held" if hold else "promoting" if last else "advanced"
            self._write(event, reason=decision.reason)
            self._before = None

    def _promote(self) -> None:
        """Switch every pod to the canary, which then becomes the champion."""
        rollout = self._rollout
        fault = self._settle(self._effects.apply, {rollout.split})
        if fault is None and not self._wait(max(rollout.plan.settle_s, _LOOK_S)):
            reading = self._read()
            unconfirmed = reading if isinstance(reading, str) else self._unconfirmed(reading)
            if unconfirmed:
                if self._clock() - max(rollout.since, self._began) >= rollout.plan.apply_timeout_s:
                    raise MetricSourceError(
                        f"the metrics do not confirm that every pod serves {rollout.canary.uri}: "
                        f"{unconfirmed}; the rollout stays {rollout.state}; continue with `rollout resume`, "
                        "or end it with `rollout abort`"
                    )
                return  # and read the metrics again
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

    def _compare_precisions(self, reading: Reading) -> None:
        """Report if the versions are served in different data types, which changes scores and latency."""
        champion, canary = (
            "/".join(precisions_of(reading, side.uri))
            for side in (self._rollout.champion, self._rollout.canary)
        )
        if champion and canary and champion != canary:
            self._say(f"the canary is served in {canary}, the champion in {champion}")

    def _unconfirmed(self, reading: Reading) -> str | None:
        """Return why the metrics do not yet confirm that every pod serves the canary; None if they do."""
        uri = self._rollout.canary.uri
        try:
            replicas = self._effects.serving(self._rollout).replicas
        except TargetError as error:
            return str(error)
        reported = pods_of(reading, uri)
        if reported >= replicas or any(load.uri == uri for load in failed_loads(reading)):
            return None
        return f"{reported} of {replicas} pods report it"

    def _roll_back(self) -> None:
        """Switch every pod back to the champion."""
        rollout = self._rollout
        fault = self._settle(self._effects.apply, {rollout.split})
        if fault is not None:
            raise TargetError(
                f"the champion is not back on every pod: {fault}; the rollout stays {rollout.state}; check "
                "the cluster, then continue with `rollout resume`"
            )
        # A controller that died during the promotion may have moved the champion alias already.
        self._effects.restore(rollout, "champion", rollout.champion.version)
        self._effects.move(rollout, "canary", None)
        self._effects.put_back_replicas(rollout)
        self._write("rolled_back", reason=rollout.reason)

    def _settle(
        self,
        change: Callable[[Rollout], None] = lambda rollout: None,
        splits: Collection[TrafficSplit] | None = None,
        replicas: int = 0,
    ) -> str | None:
        """Make a change and wait until every pod serves one of the given splits with enough replicas.

        Args:
            change: change of the pods; repeated if the cluster did not answer.
            splits: splits to wait for; None accepts every split of this rollout.
            replicas: minimum number of replicas.

        Returns:
            None after success; the fault if the change fails or exceeds the plan's timeout; "" if a command
                is pending.
        """
        plan, began, message, is_made = self._rollout.plan, self._clock(), "", False
        splits = self._rollout.configured if splits is None else splits
        while self._clock() - began < plan.apply_timeout_s:
            try:
                if not is_made:
                    change(self._rollout)
                    is_made = True
                serving = self._effects.serving(self._rollout)
                done = serving.replicas >= replicas and serving.split in splits
                if serving.settled and done:
                    return None
                if serving.failed and done:
                    return f"the deployment failed: {serving.message}"
                message = serving.message
            except TargetRejectedError as error:
                return str(error)
            except TargetError as error:  # the cluster may answer again in a moment
                message = str(error)
                self._say(message)
            if self._wait(_LOOK_S):
                return ""
        late = f"not deployed within {plan.apply_timeout_s:.0f} s (apply_timeout_s)"
        return f"{late}: {message or 'pods still load the model'}"

    def _disturbed(self) -> str | None:
        """Return why the two versions can no longer be compared, or None. Raises ForeignChangeError."""
        try:
            serving = self._effects.serving(self._rollout)
        except TargetError as error:
            self._say(str(error))
            return None
        if serving.replicas <= self._rollout.step.pods:
            return f"scaled to {serving.replicas}, so no pod of the champion remains for the comparison"
        return None

    def _read(self) -> Reading | str:
        """Return a reading of all endpoints, or the reason why there is none."""
        try:
            reading = self._source.read()
        except MetricSourceError as error:
            self._say(str(error))
            return str(error)
        if not reading.missing:
            return reading
        fault = f"no response from {', '.join(sorted(reading.missing))}"
        self._say(f"{fault}; reading the metrics again")
        return fault

    def _wait(self, seconds: float) -> bool:
        """Wait, and return True early if a command that fits the state is pending."""
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
        self._on_progress(self._rollout, line, decision)


def steady_clock(
    wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
) -> Clock:
    """Return a clock: Unix time at this call plus the monotonic time since.

    Setting the system clock later does not change it.
    """
    offset = wall() - monotonic()
    return lambda: offset + monotonic()


def _check_fit(serving: DeploymentState, canary: ModelVersion) -> None:
    """Raise RolloutStateError if the state of the cluster does not permit a rollout."""
    split = serving.split
    if split.canary is not None:
        raise RolloutStateError(
            f"the pods already have a canary, {split.canary}, which is not in this journal; end its rollout "
            "(with the same --journal), or restore the deployment's user_config"
        )
    if serving.blocked:
        raise RolloutStateError(serving.blocked)
    if split.champion == canary.uri:
        raise RolloutStateError(f"every pod already serves {canary.uri}; choose another --canary")
    if not serving.settled:
        raise RolloutStateError(
            f"the deployment is still changing; wait until it is ready. {serving.message}"
        )
