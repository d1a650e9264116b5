"""The journal in a place: entries in order, one writer, a lock that runs out, a watcher who reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.aws.functions.rollout_watcher import entry_message
from cluster.rollout.errors import Busy, JournalDamaged, JournalUnreached
from cluster.rollout.journals import open_journal
from cluster.rollout.states import Rollout, Side, State, Verb
from cluster.rollout.stored_journal import LEASE_S, StoredJournal
from tests.unit.cluster.rollout.world import QUICK, World
from train.registry.folder_place import FolderPlace

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
ABORTED = {"event": "rolling_back", "at": 2.0, "reason": "abort by hand"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def journal(folder: Path, clock: Clock) -> StoredJournal:
    """As another machine opens it."""
    return StoredJournal(FolderPlace(folder), clock)


def test_entries_come_back_in_order_and_add_up(tmp_path: Path, clock: Clock) -> None:
    writer, reader = journal(tmp_path, clock), journal(tmp_path, clock)
    assert reader.entries() == [] and reader.rollout() == Rollout()
    writer.write(STARTED)
    assert reader.rollout().canary == Side("new")
    writer.write(ABORTED)
    assert reader.entries() == writer.entries() == [STARTED, ABORTED]
    assert reader.rollout().state is State.ROLLING_BACK


def test_a_whole_rollout_is_kept_and_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    memory = StoredJournal(FolderPlace(tmp_path / "s3"), lambda: world.now)
    rollout = world.controller(journal=memory).start(Side("good"), QUICK)
    assert rollout.state is State.PROMOTED
    assert StoredJournal(FolderPlace(tmp_path / "s3")).rollout() == rollout
    assert not memory.is_held()
    told = [
        message.subject.partition(": rollout 1: ")[2]
        for path in sorted((tmp_path / "s3" / "entries").iterdir())
        if path.suffix == ".json"
        if (message := entry_message("sentiment", json.loads(path.read_text()), path.name))
    ]
    assert told == [
        "a canary begins",
        "the canary goes on to more pods",
        "the canary goes to all pods",
        "the canary is live on all pods",
    ]


def test_two_at_once_are_refused_until_the_lease_runs_out(tmp_path: Path, clock: Clock) -> None:
    first, second = journal(tmp_path, clock), journal(tmp_path, clock)
    with first.held():
        assert second.is_held()
        with pytest.raises(Busy, match="another controller"), second.held():
            pass
        clock.now += LEASE_S + 1  # the first has died, and nobody renews
        with second.held():
            second.write(STARTED)
            with pytest.raises(Busy):
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
    person.ask(Verb.ABORT)
    person.ask(Verb.PROMOTE)
    assert controller.asked() is Verb.PROMOTE
    controller.answered()
    assert person.asked() is None


def test_a_missing_entry_and_a_broken_one_are_named(tmp_path: Path, clock: Clock) -> None:
    writer = journal(tmp_path, clock)
    writer.write(STARTED)
    writer.write(ABORTED)
    first = tmp_path / "entries" / "00000000.json"
    content = first.read_bytes()
    first.unlink()
    with pytest.raises(JournalDamaged, match=r"00000000\.json is missing"):
        journal(tmp_path, clock).entries()
    first.write_bytes(content[:-5])
    with pytest.raises(JournalDamaged, match=r"00000000\.json is not an entry"):
        journal(tmp_path, clock).entries()


def test_a_place_that_cannot_be_reached_is_an_error_of_a_rollout(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "entries").write_text("a file where a folder should be")
    with pytest.raises(JournalUnreached):
        journal(tmp_path, clock).write(STARTED)
    with pytest.raises(JournalUnreached, match="names no bucket"):
        open_journal("s3://")
