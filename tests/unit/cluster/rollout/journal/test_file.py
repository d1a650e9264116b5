"""Tests of the journal in a file: entries are durable, torn lines are dropped, one writer at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster.rollout.errors import JournalCorruptedError, JournalLockedError
from cluster.rollout.journal.file import FileJournal
from cluster.rollout.plan import RolloutPlan
from cluster.rollout.state import Command, RolloutState, Verb, replay

ABORT, PROMOTE = Command(Verb.ABORT, 1, "a"), Command(Verb.PROMOTE, 1, "b")


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "new")
    assert journal.entries() == [] and not journal.is_held() and not (tmp_path / "new").exists()
    for number in range(3):
        journal.write({"event": "x", "number": number})
    assert [entry["number"] for entry in FileJournal(tmp_path / "new").entries()] == [0, 1, 2]


@pytest.mark.parametrize("torn", [b'{"event":"half', b"{", b'{"event":"whole","at":1}'])
def test_a_torn_last_line_was_never_written(tmp_path: Path, torn: bytes) -> None:
    journal = FileJournal(tmp_path)
    journal.write({"event": "first"})
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(torn)
    assert journal.entries() == [{"event": "first"}]
    journal.write({"event": "second"})
    assert journal.entries() == [{"event": "first"}, {"event": "second"}]


def test_a_torn_first_line_too(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"ev')
    journal = FileJournal(tmp_path)
    journal.write({"event": "first"})
    assert journal.entries() == [{"event": "first"}]


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"event":"first"}\n[]\n{"event":"third"}\n')
    with pytest.raises(JournalCorruptedError, match="line 2 of"):
        FileJournal(tmp_path).entries()


@pytest.mark.parametrize(
    "entries",
    [
        [{"event": "applied", "at": 1}],
        [{"event": "begun", "at": 1}],
        [{"event": "started", "at": 1}],
    ],
)
def test_entries_that_cannot_be_are_refused(entries: list[dict[str, object]]) -> None:
    with pytest.raises(JournalCorruptedError):
        replay(entries)
    assert replay([]).state is RolloutState.IDLE


def test_a_journal_of_an_earlier_version_is_read() -> None:
    """Windows of that version count texts by label, not requests; the reader drops those counts."""
    counts = {"requests": 40, "errors": 1, "refused": 2, "latency": [0] * 19, "labels": {"POSITIVE": 2560}}
    counts |= {
        "scores": [0] * 10,
        "shadow_agree": 3,
        "shadow_disagree": 1,
        "shadow_failed": 0,
        "right": 5,
        "wrong": 1,
    }
    plan = RolloutPlan().model_dump(mode="json")
    plan["tolerances"] = {"error_share": 0.01}
    side = {"uri": "old", "version": None}
    window = {
        "stage": 0,
        "seconds": 15,
        "champion": counts,
        "canary": counts,
        "failed": [],
        "versions": ["1", "2"],
    }
    started = {
        "plan": plan,
        "champion": side,
        "canary": {**side, "uri": "new"},
        "model": None,
        "raised_from": None,
    }
    rollout = replay(
        [
            {"event": "started", "at": 1, "steps": [{"pods": 1, "shadow": False}], **started},
            {"event": "applied", "at": 2},
            {"event": "observed", "at": 3, "window": window},
        ]
    )
    [read] = rollout.windows
    assert (read.canary.requests, read.canary.errors, read.canary.answered) == (40, 1, 0)
    assert (rollout.state, rollout.fence) == (RolloutState.CANARY, 1)


def test_one_at_a_time(tmp_path: Path) -> None:
    journal, inside, leave = FileJournal(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with FileJournal(tmp_path).held():
            inside.set()
            assert leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    assert journal.is_held()
    with pytest.raises(JournalLockedError), journal.held(patience_s=0):
        pass
    leave.set()
    holder.join()
    assert not journal.is_held()


def test_what_is_asked(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    assert journal.asked() is None
    journal.ask(ABORT)
    assert FileJournal(tmp_path).asked() == ABORT
    journal.answered(ABORT)
    journal.answered(ABORT)
    assert journal.asked() is None


def test_a_command_that_arrives_while_another_is_carried_out_is_kept(tmp_path: Path) -> None:
    controller, person = FileJournal(tmp_path), FileJournal(tmp_path)
    person.ask(PROMOTE)
    read = controller.asked()
    assert read == PROMOTE
    person.ask(ABORT)  # at this moment the controller writes the entry
    controller.answered(read)
    assert controller.asked() == ABORT


def test_a_command_of_an_earlier_version_is_understood(tmp_path: Path) -> None:
    (tmp_path / "asked").write_text("abort")
    command = FileJournal(tmp_path).asked()
    assert command == Command(Verb.ABORT)
    FileJournal(tmp_path).answered(command)
    assert FileJournal(tmp_path).asked() is None
