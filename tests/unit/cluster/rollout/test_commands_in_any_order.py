"""Tests of commands in any order, with controllers that die: each is executed, or refused by state."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cluster.rollout.duration import LittleTraffic
from cluster.rollout.errors import RolloutStateError
from cluster.rollout.state import ModelVersion, Rollout, RolloutState, Verb
from cluster.rollout.targets.base import TrafficSplit
from tests.unit.cluster.rollout.world import MODELS, QUICK, SimulatedCrashError, World

CANARIES = st.sampled_from([name for name in MODELS if name != "old"])
SLOW = QUICK.model_copy(update={"min_requests": 10_000, "max_stage_s": 60})
"""Plan whose stages never promote automatically."""


class Rollouts(RuleBasedStateMachine):
    """State machine of a world and the commands of a person."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder / "journal")

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(canary=CANARIES, dies_after=st.none() | st.integers(0, 12), patient=st.booleans())
    def start(self, canary: str, dies_after: int | None, patient: bool) -> None:
        before, champion = self.state(), self.world.split.champion
        same = before.canary.uri == canary and not before.state.rests
        plan = QUICK if patient else SLOW
        try:
            ended = self.working(dies_after, lambda: self.begin(canary, plan))
        except RolloutStateError:
            assert canary == champion or not (before.state.rests or same)
            return
        assert before.state.rests or same
        if ended is None:
            return
        assert ended.state in (RolloutState.PROMOTED, RolloutState.ROLLED_BACK)
        expected = canary if ended.state is RolloutState.PROMOTED else ended.champion.uri
        assert self.world.split == TrafficSplit(expected)
        if ended.state is RolloutState.PROMOTED:
            good = canary in ("good", "twin", "reduced") and MODELS[canary].version != ended.champion.version
            assert good or ended.reason == "promote by command"

    @rule(verb=st.sampled_from([Verb.ABORT, Verb.PROMOTE]), dies_after=st.none() | st.integers(0, 6))
    def ask(self, verb: Verb, dies_after: int | None) -> None:
        before = self.state()
        fits = {
            Verb.ABORT: (RolloutState.CANARY, RolloutState.PROMOTING),
            Verb.PROMOTE: (RolloutState.CANARY,),
        }[verb]
        try:
            ended = self.working(dies_after, lambda: self.world.controller().ask(verb))
        except RolloutStateError:
            assert before.state not in fits
            return
        assert before.state in fits
        if ended is not None and verb is Verb.ABORT:
            assert ended.state is RolloutState.ROLLED_BACK and self.world.split == TrafficSplit(
                before.champion.uri
            )
        if ended is not None and verb is Verb.PROMOTE and MODELS[before.canary.uri].loads:
            assert ended.state is RolloutState.PROMOTED and self.world.split == TrafficSplit(
                before.canary.uri
            )

    @rule(dies_after=st.none() | st.integers(0, 12))
    def resume(self, dies_after: int | None) -> None:
        ended = self.working(dies_after, lambda: self.world.controller().resume())
        assert ended is None or ended.state.rests

    @rule(replicas=st.integers(2, 6))
    def scale(self, replicas: int) -> None:
        self.world.count()
        self.world.replicas = replicas

    @invariant()
    def the_pods_serve_what_the_journal_allows(self) -> None:
        rollout, split = self.state(), self.world.split
        if rollout.state is RolloutState.PROMOTED:
            assert split == TrafficSplit(rollout.canary.uri)
        elif rollout.state is RolloutState.ROLLED_BACK:
            assert split == TrafficSplit(rollout.champion.uri)
        elif rollout.number:
            allowed = {rollout.champion.uri, rollout.canary.uri}
            assert split.champion in allowed and (split.canary is None or split.canary == rollout.canary.uri)

    @invariant()
    def there_is_one_champion(self) -> None:
        split, served = self.world.split, self.world.pods()
        if MODELS[split.champion].loads:
            assert set(served) <= {split.champion, split.canary}
        assert served[split.canary or ""] <= (split.step.pods if split.step else 0)

    @invariant()
    def at_rest_the_registry_agrees_with_the_pods(self) -> None:
        rollout, aliases = self.state(), self.world.aliases
        if rollout.state.rests and rollout.number:
            assert "canary" not in aliases
            assert aliases["champion"] == MODELS[self.world.split.champion].version

    def state(self) -> Rollout:
        return self.world.journal().rollout()

    def begin(self, canary: str, plan: object) -> Rollout:
        champion = MODELS[self.world.split.champion].version
        return self.world.controller().start(
            ModelVersion(canary, MODELS[canary].version),
            plan,  # type: ignore[arg-type]
            champion_version=champion,
            model="sentiment",
            little_traffic=LittleTraffic.IGNORE,
        )

    def working(self, dies_after: int | None, work: object) -> Rollout | None:
        """Return the controller's result, or None if it died after the given number of effects."""
        self.world.effects, self.world.dies_after = 0, dies_after
        try:
            ended: Rollout | None = work()  # type: ignore[operator]
            return ended
        except SimulatedCrashError:
            return None
        finally:
            self.world.dies_after = None


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)


def test_an_abort_after_a_death_in_promotion_takes_the_champion_back() -> None:
    """The controller had moved the aliases, but had not written it to the journal yet."""
    state = Rollouts()
    state.start(canary="good", dies_after=0, patient=False)
    state.ask(verb=Verb.PROMOTE, dies_after=3)
    state.ask(verb=Verb.ABORT, dies_after=None)

    state.at_rest_the_registry_agrees_with_the_pods()
    state.teardown()
