"""Tests of the journal in object storage: order of entries, one writer, an expiring lease, and readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.aws.functions.rollout_watcher import entry_message
from cluster.rollout.errors import JournalLockedError, LeaseLostError
from cluster.rollout.journal.object_store import LEASE_S, ObjectStoreJournal
from cluster.rollout.state import Command, ModelVersion, Rollout, RolloutState, Verb
from cluster.rollout.targets.base import TrafficSplit
from tests.unit.cluster.rollout.world import MODELS, QUICK, SimulatedCrashError, World
from train.storage.local import FolderPlace

STARTED = {
    "event": "started",
    "at": 1.0,
    "reason": "new against old",
    "plan": QUICK.model_dump(mode="json"),
    "champion": {"uri": "old", "version": None},
    "canary": {"uri": "new", "version": None},
    "model": None,
    "steps": [{"pods": 1, "shadow": False}],
    "raised_from": None,
}
ABORTED = {"event": "rolling_back", "at": 2.0, "reason": "abort by command"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def journal(folder: Path, clock: Clock) -> ObjectStoreJournal:
    """Return the journal as another machine opens it."""
    return ObjectStoreJournal(FolderPlace(folder), clock)


def test_entries_come_back_in_order_and_add_up(tmp_path: Path, clock: Clock) -> None:
    writer, reader = journal(tmp_path, clock), journal(tmp_path, clock)
    assert reader.entries() == [] and reader.rollout() == Rollout()
    writer.write(STARTED)
    assert reader.rollout().canary == ModelVersion("new")
    writer.write(ABORTED)
    assert reader.entries() == writer.entries() == [STARTED, ABORTED]
    assert reader.rollout().state is RolloutState.ROLLING_BACK


def test_a_whole_rollout_is_kept_and_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    memory = ObjectStoreJournal(FolderPlace(tmp_path / "s3"), lambda: world.now)
    rollout = world.controller(journal=memory).start(ModelVersion("good"), QUICK)
    assert rollout.state is RolloutState.PROMOTED
    assert ObjectStoreJournal(FolderPlace(tmp_path / "s3")).rollout() == rollout
    assert not memory.is_held()
    told = [
        message.subject.partition(": rollout 1: ")[2]
        for path in sorted((tmp_path / "s3" / "entries").iterdir())
        if path.suffix == ".json"
        if (message := entry_message("sentiment", json.loads(path.read_text()), path.name))
    ]
    assert told == [
        "the canary has started",
        "the canary is moving to more pods",
        "the canary is moving to all pods",
        "the canary is live on all pods",
    ]


def test_two_at_once_are_refused_until_the_lease_runs_out(tmp_path: Path, clock: Clock) -> None:
    first, second = journal(tmp_path, clock), journal(tmp_path, clock)
    with first.held():
        assert second.is_held()
        with pytest.raises(JournalLockedError, match="another controller"), second.held():
            pass
        clock.now += LEASE_S + 1  # the first controller has died and does not renew the lease
        with second.held():
            second.write(STARTED)
            with pytest.raises(JournalLockedError):
                first.write(STARTED)
            assert second.is_held()
    assert not second.is_held(), "each gave back its own"
    assert journal(tmp_path, clock).entries() == [STARTED]


def test_the_first_does_not_give_back_the_lock_of_the_second(tmp_path: Path, clock: Clock) -> None:
    first, second = journal(tmp_path, clock), journal(tmp_path, clock)
    with first.held():
        clock.now += LEASE_S + 1
        stolen = second.held()
        stolen.__enter__()
    assert second.is_held()
    stolen.__exit__(None, None, None)
    assert not second.is_held()


def test_what_a_person_asks_is_heard_once(tmp_path: Path, clock: Clock) -> None:
    person, controller = journal(tmp_path, clock), journal(tmp_path, clock)
    assert controller.asked() is None
    abort, promote = Command(Verb.ABORT, 1, "a"), Command(Verb.PROMOTE, 1, "b")
    person.ask(promote)
    assert controller.asked() == promote
    person.ask(abort)  # at this moment the controller writes the entry of the first command
    controller.answered(promote)
    assert controller.asked() == abort
    controller.answered(abort)
    assert person.asked() is None


@pytest.mark.parametrize("canary", ["good", "failing"])
def test_a_controller_that_was_overtaken_changes_nothing(tmp_path: Path, canary: str) -> None:
    """One controller pauses for 120 s at any moment, another one rolls back, the first reports its steps."""
    moment = overtaken = 0
    while (world := paused_at(tmp_path / str(moment), moment, canary)) is not None:
        end = _Told(world, world.folder).rollout()
        assert end.state.rests and (world.split, world.aliases["champion"]) == (
            (TrafficSplit("good"), "2") if end.state is RolloutState.PROMOTED else (TrafficSplit("old"), "1")
        ), f"moment {moment}"
        assert "canary" not in world.aliases
        overtaken += end.reason == "abort by command"
        moment += 1
    assert overtaken > 10


def paused_at(folder: Path, moment: int, canary: str) -> World | None:
    """Return a rollout whose controller pauses at its n-th action, or None if it has fewer actions."""
    world, left = World(folder), iter(range(moment))
    taken_up: list[Rollout] = []

    def pause(event: str = "") -> None:
        if next(left, None) is None:
            world.on_sleep = world.before_apply = lambda: None
            world.on_entry = lambda event: None
            world.now += 120
            other = _Told(world, folder)
            state, another = other.rollout().state, world.controller(journal=other)
            if state in (RolloutState.CANARY, RolloutState.PROMOTING):
                taken_up.append(another.ask(Verb.ABORT))
            elif not state.rests:
                taken_up.append(another.resume())

    world.on_sleep, world.on_entry, world.before_apply = pause, pause, pause
    controller, side = (
        world.controller(journal=_Told(world, folder)),
        ModelVersion(canary, MODELS[canary].version),
    )
    try:
        controller.start(side, QUICK, champion_version="1", model="sentiment")
    except LeaseLostError as error:
        assert taken_up and "this controller made these changes: " in str(error)
        assert taken_up[0].state is RolloutState.ROLLED_BACK
    else:
        assert not taken_up
    return None if world.on_sleep is pause else world


def test_an_abort_after_the_controller_was_killed_waits_for_its_lease_and_is_done(tmp_path: Path) -> None:
    world, place = World(tmp_path / "world", dies_after=1), FolderPlace(tmp_path / "s3")
    killed = ObjectStoreJournal(place, lambda: world.now)
    with pytest.raises(SimulatedCrashError):
        world.controller(journal=killed).start(ModelVersion("good"), QUICK)
    # The process has ended, but its lease is still valid.
    world.dies_after = None
    assert killed.rollout().state is RolloutState.CANARY
    _lease_of_a_dead_process(place, world.now + LEASE_S)
    rollout = world.controller(journal=ObjectStoreJournal(place, lambda: world.now)).ask(Verb.ABORT)
    assert rollout.state is RolloutState.ROLLED_BACK and world.split == TrafficSplit("old")


def test_an_abort_that_nobody_takes_is_an_error(tmp_path: Path) -> None:
    world, place = World(tmp_path / "world", dies_after=1), FolderPlace(tmp_path / "s3")
    with pytest.raises(SimulatedCrashError):
        world.controller(journal=ObjectStoreJournal(place, lambda: world.now)).start(
            ModelVersion("good"), QUICK
        )
    world.dies_after = None
    _lease_of_a_dead_process(place, world.now + 10 * LEASE_S)  # the lease is renewed by a process that hangs
    with pytest.raises(JournalLockedError, match="has not executed abort"):
        world.controller(journal=ObjectStoreJournal(place, lambda: world.now)).ask(Verb.ABORT)


class _Told(ObjectStoreJournal):
    """Journal that notifies a world of every entry."""

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(FolderPlace(folder / "s3"), lambda: world.now, lambda: world.now)
        self._world = world

    def write(self, entry: Mapping[str, Any]) -> None:
        super().write(entry)
        self._world.on_entry(entry["event"])


def _lease_of_a_dead_process(place: FolderPlace, until: float) -> None:
    lock, stored = json.dumps({"until": until, "by": "another"}), place.read("lock")
    assert place.swap("lock", lock.encode(), tag=stored.tag if stored else None)
