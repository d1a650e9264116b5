"""Tests of the controller in a simulated world: outcomes, reasons, commands, death at every effect."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from cluster.rollout.controller import steady_clock
from cluster.rollout.duration import LittleTraffic
from cluster.rollout.errors import (
    JournalLockedError,
    MetricSourceError,
    RolloutPlanError,
    RolloutStateError,
    TargetError,
)
from cluster.rollout.plan import CanaryPods, PlannedStage, RolloutPlan
from cluster.rollout.state import Command, ModelVersion, Rollout, RolloutState, Verb
from cluster.rollout.targets.base import TrafficSplit
from tests.unit.cluster.rollout.world import MODELS, QUICK, Model, SimulatedCrashError, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def start(world: World, canary: str, plan: RolloutPlan = QUICK, **options: bool) -> Rollout:
    return world.controller().start(
        ModelVersion(canary, MODELS[canary].version), plan, champion_version="1", model="sentiment", **options
    )


def test_a_good_canary_goes_from_one_pod_to_half_to_all(world: World) -> None:
    rollout = start(world, "good")
    assert rollout.state is RolloutState.PROMOTED
    one, half = CanaryPods(1, shadow=False), CanaryPods(2, shadow=False)
    assert world.splits == [
        TrafficSplit("old", "good", one),
        TrafficSplit("old", "good", half),
        TrafficSplit("good"),
    ]
    assert world.aliases == {"champion": "2", "previous": "1"}
    assert {window.stage for window in rollout.windows} == {0, 1}
    by_stage = {w.stage: (w.champion.requests, w.canary.requests) for w in rollout.windows}
    assert by_stage == {0: (300, 100), 1: (200, 200)}, "ten seconds each, ten requests a second and pod"


@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        ("broken", "digest-mismatch"),
        ("failing", "errors alone: requests with status 5xx: 20.00% of the canary's"),
        ("flaky", "errors: requests with status 5xx: 4.00% of the canary's against 0.00%"),
        ("slow", "p95: 100.00% of the canary's"),
        ("stuck", "labels: texts with the label POSITIVE: 100.00% of the canary's against 50.00%"),
        ("twin", "both have the version '1'"),
    ],
)
def test_a_bad_canary_is_taken_back_from_its_one_pod(world: World, canary: str, reason: str) -> None:
    rollout = start(world, canary)
    assert rollout.state is RolloutState.ROLLED_BACK and reason in rollout.reason
    assert world.splits == [TrafficSplit("old", canary, CanaryPods(1, shadow=False)), TrafficSplit("old")]
    assert world.aliases == {"champion": "1"}


def test_a_canary_without_a_champions_traffic_fails_few_requests(world: World) -> None:
    def quieten() -> None:
        world.quiet = frozenset({"old"} if world.split.canary else ())

    world.on_sleep = quieten
    rollout = start(world, "dead")
    assert rollout.state is RolloutState.ROLLED_BACK and rollout.reason.startswith(
        "errors alone: requests with status 5xx: 100.00%"
    )
    assert sum(window.canary.requests for window in rollout.windows) <= 200


def test_a_clock_that_is_set_changes_no_duration(world: World) -> None:
    """The wall clock jumps back or ahead by an hour, at any moment of a stage."""
    for number, (moment, step) in enumerate(itertools.product((1005, 1012, 1018, 1027, 1040), (-3600, 3600))):
        other = World(world.folder / str(number))

        def wall(other: World = other, moment: int = moment, step: int = step) -> float:
            return other.now + (step if other.now > moment else 0)

        def monotonic(other: World = other) -> float:
            return other.now - 500

        controller = other.controller(clock=steady_clock(wall, monotonic))
        rollout = controller.start(ModelVersion("good"), QUICK)
        assert rollout.state is RolloutState.PROMOTED
        assert {window.seconds for window in rollout.windows} == {10}
        assert other.now < 1000 + QUICK.max_stage_s


def test_a_rollout_that_little_traffic_leaves_undecided_is_refused_before_it_begins(
    world: World,
) -> None:
    world.rate = 0.2
    with pytest.raises(RolloutPlanError, match=r"observed 0\.20 .* 16\.8 min on 1 pod.*at most 600 s.*adapt"):
        start(world, "good")
    world.rate = 0.0
    with pytest.raises(RolloutPlanError, match="forever on 1 pod"):
        start(world, "good")
    assert world.journal().entries() == [] and world.splits == []


def test_a_rollout_adapts_to_little_traffic_and_states_what_it_loses(world: World) -> None:
    world.rate = 0.2
    said: list[str] = []
    controller = world.controller(on_progress=lambda rollout, line, decision: said.append(line))
    rollout = controller.start(ModelVersion("good"), QUICK, little_traffic=LittleTraffic.ADAPT)
    assert rollout.state is RolloutState.PROMOTED and rollout.plan.min_requests == 95
    assert any("with 95 instead of 200, a canary with 2% 5xx" in line for line in said)


def test_a_rollout_says_how_long_its_stages_take(world: World) -> None:
    said: list[str] = []
    world.controller(on_progress=lambda rollout, line, decision: said.append(line)).start(
        ModelVersion("good"), QUICK
    )
    assert any(
        "10.00 answered requests/s per pod the stages take 0.4 min on 1 pod, 0.4 min" in s for s in said
    )


@pytest.mark.parametrize(("canary", "reported"), [("reduced", 1), ("good", 0)])
def test_versions_in_different_precisions_are_reported_once(world: World, canary: str, reported: int) -> None:
    lines: list[str] = []
    controller = world.controller(on_progress=lambda rollout, line, decision: lines.append(line))
    controller.start(ModelVersion(canary), QUICK)
    stated = "the canary is served in bfloat16, the champion in float32"
    assert sum(stated in line for line in lines) == reported


def test_shadow_first(world: World) -> None:
    plan = QUICK.model_copy(update={"stages": (PlannedStage(pods=1, shadow=True), PlannedStage(pods=1))})
    rollout = start(world, "good", plan)
    assert rollout.state is RolloutState.PROMOTED
    assert [split.step for split in world.splits] == [
        CanaryPods(1, shadow=True),
        CanaryPods(1, shadow=False),
        None,
    ]
    shadowed = [window for window in rollout.windows if window.stage == 0]
    assert all(window.canary.requests == 0 and window.canary.shadowed == 100 for window in shadowed)
    other = World(world.folder / "other")
    stuck = start(other, "stuck", plan)
    assert stuck.reason.startswith("disagreement: ") and len(other.splits) == 2


def test_one_replica_is_refused_or_raised_for_the_time(world: World) -> None:
    world.replicas = 1
    with pytest.raises(RolloutPlanError, match="--raise-to-two"):
        start(world, "good")
    assert world.splits == [] and world.journal().entries() == []
    replicas: list[int] = []
    world.on_sleep = lambda: replicas.append(world.replicas) if world.split.canary else None
    assert start(world, "good", raise_to_two=True).state is RolloutState.PROMOTED
    assert set(replicas) == {2} and world.replicas == 1
    world.replicas = 1
    assert start(world, "failing", raise_to_two=True).state is RolloutState.ROLLED_BACK
    assert world.replicas == 1


def test_what_is_in_no_state_to_begin_is_refused(world: World) -> None:
    with pytest.raises(RolloutStateError, match="already serves"):
        start(world, "old")
    world.split = TrafficSplit("old", "stuck", CanaryPods(1, shadow=False))
    with pytest.raises(RolloutStateError, match="already have a canary, stuck"):
        start(world, "good")
    assert world.journal().entries() == []


def test_two_controllers_at_once_are_refused(world: World) -> None:
    refused: list[str] = []

    def second() -> None:
        world.on_sleep = lambda: None
        with pytest.raises(JournalLockedError) as busy:
            start(world, "stuck")
        refused.append(str(busy.value))

    world.on_sleep = second
    assert start(world, "good").state is RolloutState.PROMOTED
    assert "rollout status --watch" in refused[0]


@pytest.mark.parametrize(
    ("verb", "state"), [(Verb.ABORT, RolloutState.ROLLED_BACK), (Verb.PROMOTE, RolloutState.PROMOTED)]
)
def test_a_person_reaches_the_controller_at_work(world: World, verb: Verb, state: RolloutState) -> None:
    def ask() -> None:
        if world.split.canary is not None:
            world.on_sleep = lambda: None
            world.journal().ask(Command(verb, 1, "token"))

    world.on_sleep = ask
    rollout = start(world, "good", QUICK.model_copy(update={"min_requests": 10_000, "max_stage_s": 3000}))
    assert rollout.state is state and rollout.reason == f"{verb} by command"
    assert world.journal().asked() is None


def test_a_command_for_an_earlier_rollout_is_not_carried_out(world: World) -> None:
    def ask() -> None:
        if world.split.canary is not None:
            world.on_sleep = lambda: None
            world.journal().ask(Command(Verb.ABORT, 7, "token"))

    world.on_sleep = ask
    assert start(world, "good").state is RolloutState.PROMOTED


def test_verbs_in_the_wrong_state_name_both(world: World) -> None:
    for verb in (Verb.PROMOTE, Verb.ABORT):
        with pytest.raises(
            RolloutStateError, match=f"{verb} is for a rollout that is .*canary.*this one is idle"
        ):
            world.controller().ask(verb)
    start(world, "good")
    with pytest.raises(RolloutStateError, match="promoted"):
        world.controller().ask(Verb.ABORT)


def test_without_metrics_a_rollout_is_taken_back(world: World) -> None:
    world.blind = True
    rollout = start(world, "good")
    assert rollout.state is RolloutState.ROLLED_BACK and "no usable metrics" in rollout.reason


def test_a_pause_of_the_metrics_costs_a_window_and_no_more(world: World) -> None:
    def blink() -> None:
        world.blind = 1030 < world.now < 1050

    world.on_sleep = blink
    assert start(world, "good").state is RolloutState.PROMOTED


def test_an_endpoint_that_misses_the_first_scrape_brings_no_lifetime_totals_into_a_window(
    world: World, tmp_path: Path
) -> None:
    """Those totals of weeks would outweigh every window, for the champion or against the canary."""
    for number, (canary, version, ends) in enumerate(
        [
            ("failing", "1", RolloutState.ROLLED_BACK),
            ("good", "2", RolloutState.PROMOTED),
            ("good", "1", RolloutState.PROMOTED),
        ]
    ):
        world = World(tmp_path / str(number))
        earlier = Model(version)
        world.add(0, "requests_total", 50_000, earlier, status="200")
        world.add(0, "requests_total", 50_000, earlier, status="500")

        def miss(world: World = world) -> None:
            world.away = frozenset({0}) if world.now < 1018 else frozenset()

        world.on_sleep = miss
        rollout = start(world, canary)
        assert rollout.state is ends, rollout.reason
        assert sum(window.champion.requests + window.canary.requests for window in rollout.windows) < 10_000


def test_an_endpoint_that_is_away_delays_and_decides_nothing(world: World) -> None:
    """For any pod and in any stage, no window is closed and no version is promoted without the endpoint."""
    for rank in range(4):
        other = World(world.folder / str(rank))

        def away(other: World = other, rank: int = rank) -> None:
            other.away = frozenset({rank}) if 1020 < other.now < 1300 else frozenset()

        other.on_sleep = away
        rollout = start(other, "good")
        assert rollout.state is RolloutState.PROMOTED
        assert rollout.windows[0].seconds > 280 or other.now > 1300


def test_a_version_is_promoted_when_as_many_pods_as_the_deployment_has_report_it(world: World) -> None:
    asked: list[RolloutState] = []

    def hide() -> None:
        state = world.journal().rollout().state
        hidden = world.split == TrafficSplit("good") and len(asked) < 20
        if hidden:
            asked.append(state)
        world.unreported = frozenset({3}) if hidden else frozenset()

    world.on_sleep = hide
    assert start(world, "good").state is RolloutState.PROMOTED
    assert len(asked) == 20 and set(asked) == {RolloutState.PROMOTING}


def test_a_promotion_that_no_metrics_confirm_stays_for_resume(world: World) -> None:
    def hide() -> None:
        world.unreported = frozenset({3}) if world.split == TrafficSplit("good") else frozenset()

    world.on_sleep = hide
    with pytest.raises(MetricSourceError, match=r"3 of 4 pods.*rollout resume"):
        start(world, "good")
    assert world.journal().rollout().state is RolloutState.PROMOTING and world.split == TrafficSplit("good")
    assert world.aliases["champion"] == "1"
    world.on_sleep, world.unreported = lambda: None, frozenset()
    rollout = world.controller().resume()
    assert rollout is not None and rollout.state is RolloutState.PROMOTED


def test_a_scale_down_to_the_canary_ends_it(world: World) -> None:
    def scale_down() -> None:
        if world.now > 1022:
            world.replicas = 1

    world.on_sleep = scale_down
    assert "scaled to 1" in start(world, "good").reason
    assert world.replicas == 1 and world.split == TrafficSplit("old")


HOTFIX = TrafficSplit("stuck")
"""Traffic split that another person applies to all pods."""


def hotfix_at(world: World, moment: int) -> list[str]:
    """Change the pods' traffic split at the controller's n-th action; return a list with its event."""
    left, events = iter(range(moment)), list[str]()

    def passes(event: str = "") -> None:
        if next(left, None) is None and HOTFIX not in world.splits:
            world.count()
            world.split, world.fence = HOTFIX, 0
            world.splits.append(HOTFIX)
            events.append(event)

    world.on_sleep, world.on_entry, world.before_apply = passes, passes, passes
    return events


@pytest.mark.parametrize("canary", ["good", "failing"])
def test_a_change_by_others_at_any_moment_stays_and_stops_the_rollout(tmp_path: Path, canary: str) -> None:
    """The change may be in the last window of a stage, during the promotion, or during the rollback."""
    moments = 0
    states: set[RolloutState] = set()
    while True:
        world = World(tmp_path / str(moments))
        events = hotfix_at(world, moments)
        rollout = start(world, canary)
        if not events:
            break
        if rollout.champion.uri == HOTFIX.champion:
            assert rollout.state is RolloutState.ROLLED_BACK, (
                "it was changed before the rollout, which went from it"
            )
        elif events != [rollout.state]:  # otherwise the rollout had already ended
            assert rollout.state is RolloutState.STOPPED, f"moment {moments}: {rollout.reason}"
            assert "another program or person changed" in rollout.reason
        states.add(rollout.state)
        assert world.split == HOTFIX and world.splits[-1] == HOTFIX, f"overwritten at moment {moments}"
        moments += 1
    assert moments > 20 and RolloutState.STOPPED in states


def test_after_a_change_by_others_the_next_rollout_starts_from_it(world: World) -> None:
    hotfix_at(world, 10)
    assert start(world, "good").state is RolloutState.STOPPED
    world.on_sleep = world.before_apply = lambda: None
    world.on_entry = lambda event: None
    rollout = start(world, "good")
    assert (rollout.number, rollout.champion.uri) == (2, "stuck")


def test_replicas_that_somebody_scaled_meanwhile_are_not_put_back(world: World) -> None:
    world.replicas = 1

    def scale() -> None:
        if world.now > 1022:
            world.replicas = 5

    world.on_sleep = scale
    assert start(world, "good", raise_to_two=True).state is RolloutState.PROMOTED
    assert world.replicas == 5


def test_scaling_during_a_canary_keeps_it_on_one_pod(world: World) -> None:
    seen: set[int] = set()

    def scale() -> None:
        world.replicas = 2 if world.now < 1040 else 6
        if world.split.step == CanaryPods(1, shadow=False):
            seen.add(world.pods()["good"])

    world.on_sleep = scale
    assert start(world, "good").state is RolloutState.PROMOTED
    assert seen == {1}


def test_a_cluster_that_does_not_answer_is_waited_for_and_an_unfinished_rollback_stays(world: World) -> None:
    def fall() -> None:
        world.down = world.now > 1020

    world.on_sleep = fall
    with pytest.raises(TargetError, match="rollout resume"):
        start(world, "failing")
    assert world.journal().rollout().state is RolloutState.ROLLING_BACK
    world.on_sleep, world.down = lambda: None, False
    rollout = world.controller().resume()
    assert (
        rollout is not None
        and rollout.state is RolloutState.ROLLED_BACK
        and world.split == TrafficSplit("old")
    )


def test_another_canary_waits_for_the_first_to_end(world: World) -> None:
    world.dies_after = 3
    with pytest.raises(SimulatedCrashError):
        start(world, "good")
    world.dies_after = None
    with pytest.raises(RolloutStateError, match="this one is canary"):
        start(world, "stuck")


@pytest.mark.parametrize("canary", ["good", "failing", "broken"])
@pytest.mark.parametrize("replicas", [4, 1])
def test_killed_after_any_effect_and_started_again_it_ends_in_the_same_place(
    tmp_path: Path, canary: str, replicas: int
) -> None:
    whole = World(tmp_path / "whole", replicas=replicas)
    ended = start(whole, canary, raise_to_two=True)
    assert whole.effects > 6
    for effect in range(whole.effects):
        world = World(tmp_path / str(effect), replicas=replicas, dies_after=effect)
        with pytest.raises(SimulatedCrashError):
            start(world, canary, raise_to_two=True)
        at_death = world.journal().rollout()
        assert world.split.champion in ("old", canary), "the pods serve a split that is defined"
        world.dies_after, world.effects = None, 0
        # If the controller died after its last entry, there is nothing to resume.
        rollout = at_death if at_death.state.rests else start(world, canary, raise_to_two=True)
        assert (rollout.state, world.split, world.replicas, world.aliases) == (
            ended.state,
            whole.split,
            whole.replicas,
            whole.aliases,
        ), f"killed after effect {effect}"
        assert rollout.number == 1


def test_held_after_the_first_stage_it_waits_and_then_goes_on(world: World) -> None:
    held = start(world, "good", hold=True)
    assert (held.state, held.held, held.stage) == (RolloutState.CANARY, True, 0)
    assert world.splits == [TrafficSplit("old", "good", CanaryPods(1, shadow=False))]
    assert not world.journal().is_held() and world.journal().rollout() == held
    world.now += 100 * QUICK.max_stage_s  # an approval may take a night
    rollout = world.controller().resume()
    assert rollout is not None and (rollout.state, rollout.held) == (RolloutState.PROMOTED, False)
    assert world.aliases == {"champion": "2", "previous": "1"}


def test_held_it_can_be_taken_back(world: World) -> None:
    start(world, "good", hold=True)
    rollout = world.controller().ask(Verb.ABORT)
    assert rollout is not None and rollout.state is RolloutState.ROLLED_BACK
    assert world.splits[-1] == TrafficSplit("old") and world.aliases == {"champion": "1"}


def test_a_bad_canary_is_not_held(world: World) -> None:
    assert start(world, "failing", hold=True).state is RolloutState.ROLLED_BACK


def test_held_twice_it_still_waits(world: World) -> None:
    start(world, "good", hold=True)
    assert start(world, "good", hold=True).held
    assert {split.step for split in world.splits} == {CanaryPods(1, shadow=False)}
