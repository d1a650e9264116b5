"""The journal: what is written is there, a torn line is not, and one at a time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from cluster.rollout.errors import Busy, JournalDamaged
from cluster.rollout.journal import Journal
from cluster.rollout.states import State, Verb, replay


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new")
    assert journal.entries() == [] and not journal.is_held() and not (tmp_path / "new").exists()
    for number in range(3):
        journal.write({"event": "x", "number": number})
    assert [entry["number"] for entry in Journal(tmp_path / "new").entries()] == [0, 1, 2]


@pytest.mark.parametrize("torn", [b'{"event":"half', b"{", b'{"event":"whole","at":1}'])
def test_a_torn_last_line_was_never_written(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path)
    journal.write({"event": "first"})
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(torn)
    assert journal.entries() == [{"event": "first"}]
    journal.write({"event": "second"})
    assert journal.entries() == [{"event": "first"}, {"event": "second"}]


def test_a_torn_first_line_too(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"ev')
    journal = Journal(tmp_path)
    journal.write({"event": "first"})
    assert journal.entries() == [{"event": "first"}]


def test_damage_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b'{"event":"first"}\n[]\n{"event":"third"}\n')
    with pytest.raises(JournalDamaged, match="line 2 of"):
        Journal(tmp_path).entries()


@pytest.mark.parametrize(
    "entries",
    [
        [{"event": "applied", "at": 1}],
        [{"event": "begun", "at": 1}],
        [{"event": "started", "at": 1}],
    ],
)
def test_entries_that_cannot_be_are_refused(entries: list[dict[str, object]]) -> None:
    with pytest.raises(JournalDamaged):
        replay(entries)
    assert replay([]).state is State.IDLE


def test_one_at_a_time(tmp_path: Path) -> None:
    journal, inside, leave = Journal(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with Journal(tmp_path).held():
            inside.set()
            assert leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(30)
    assert journal.is_held()
    with pytest.raises(Busy), journal.held(patience_s=0):
        pass
    leave.set()
    holder.join()
    assert not journal.is_held()


def test_what_is_asked(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.asked() is None
    journal.ask(Verb.ABORT)
    assert Journal(tmp_path).asked() is Verb.ABORT
    journal.answered()
    journal.answered()
    assert journal.asked() is None
