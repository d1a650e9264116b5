"""Tests of compaction: every row is kept once after any interruption, one run at a time, idempotent."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.prediction_log.records import FEEDBACK, PREDICTIONS
from tests.unit.train.prediction_log.logs import NOON, answered, truth, write
from train.errors import LogError
from train.prediction_log import compaction
from train.prediction_log.compaction import Compaction, compact, groups
from train.prediction_log.lease import leased
from train.prediction_log.reader import COMPACTED, Log, LogFile

TOMORROW = date(2026, 11, 27)
NO_GRACE = timedelta(0)


def rows(root: Path) -> Counter[str]:
    log = Log(str(root))
    found = [row for batch in log.predictions() for row in batch.to_pylist()]
    found += [row for batch in log.feedback() for row in batch.to_pylist()]
    return Counter(str(row) for row in found)


def files(root: Path, kind: str = PREDICTIONS) -> list[str]:
    return [file.name for file in Log(str(root)).files(kind)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write a log of two versions and three days, in small files."""
    for second in range(4):
        for version in ("7", "8"):
            write(tmp_path, [answered(f"{version}-{second}", "one", "two", seconds=second, version=version)])
        write(tmp_path, truths=[truth(f"7-{second}", "NEGATIVE")])
        write(tmp_path, [answered(f"later-{second}", "three", seconds=86_400)])
    return tmp_path


def test_the_small_files_of_a_day_become_one(root: Path) -> None:
    before = rows(root)

    done = compact(Log(str(root)), before=TOMORROW)

    assert done == Compaction(files_before=12, files_after=3, written=3)
    assert rows(root) == before and sum(before.values()) == 4 * (2 + 2 + 1 + 1)
    assert len(files(root)) == 2 + 4 and len(files(root, FEEDBACK)) == 1
    assert Log(str(root)).labels() == ("NEGATIVE", "NEUTRAL", "POSITIVE")


def test_what_is_replaced_stays_for_its_readers_and_goes_then(root: Path) -> None:
    before, log = rows(root), Log(str(root))
    reading = log.predictions()
    next(reading)
    compact(log, before=TOMORROW)
    assert sum(batch.num_rows for batch in reading) == 18  # the files that the reader has listed still exist

    assert compact(log, before=TOMORROW) == Compaction(files_before=3, files_after=3)
    done = compact(log, before=TOMORROW, grace=NO_GRACE)
    assert done == Compaction(files_before=3, files_after=3, removed=12)
    assert rows(root) == before
    assert compact(log, before=TOMORROW, grace=NO_GRACE) == Compaction(files_before=3, files_after=3)


def test_what_comes_late_is_taken_in_once_the_replaced_are_gone(root: Path) -> None:
    log = Log(str(root))
    compact(log, before=TOMORROW)
    write(root, [answered("late-1", "four")])
    assert compact(log, before=TOMORROW).written == 0  # the compacted file's sources still exist
    compact(log, before=TOMORROW, grace=NO_GRACE)
    write(root, [answered("late-2", "five")])
    compact(log, before=TOMORROW, grace=NO_GRACE)
    before = rows(root)
    compact(log, before=TOMORROW, grace=NO_GRACE)

    assert rows(root) == before and sum(before.values()) == 26
    assert len(list((root / "predictions/date=2026-11-26/version=7").glob("*.parquet"))) == 1


@pytest.mark.parametrize("stop_after", [0, 3, 11])
def test_a_run_that_dies_while_it_removes_leaves_every_row_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    before = rows(root)
    compact(Log(str(root)), before=TOMORROW)
    removed = 0

    def remove(log: Log, file: LogFile) -> None:
        nonlocal removed
        if removed == stop_after:
            raise KeyboardInterrupt
        removed += 1
        Path(file.path).unlink()

    with monkeypatch.context() as patched:
        patched.setattr(Log, "remove", remove)
        with pytest.raises(KeyboardInterrupt):
            compact(Log(str(root)), before=TOMORROW, grace=NO_GRACE)

    assert rows(root) == before
    compact(Log(str(root)), before=TOMORROW, grace=NO_GRACE)
    assert rows(root) == before and len(list(root.rglob("*.parquet"))) == 3 + 4


def test_a_run_that_dies_before_a_file_is_whole_changes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(root)

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(compaction, "open_place", lambda _: type("Dead", (), {"put": dies}))
        with pytest.raises(KeyboardInterrupt):
            compact(Log(str(root)), before=TOMORROW)

    assert rows(root) == before and not any(name.startswith(COMPACTED) for name in files(root))


def test_versions_with_other_labels_are_not_mixed(tmp_path: Path) -> None:
    record = answered("a", "one")
    model = replace(record.answer.model, labels=("BAD", "FAIR", "GOOD"), digest="other")
    for second in range(2):
        write(tmp_path, [answered(f"a{second}", "one")])
        write(tmp_path, [replace(record, answer=replace(record.answer, model=model))])

    assert compact(Log(str(tmp_path)), before=TOMORROW).written == 2
    assert sum(rows(tmp_path).values()) == 4


def test_one_run_at_a_time_and_a_dead_one_is_outlived(root: Path) -> None:
    began = datetime.now(UTC)
    with leased(str(root), lambda: began):
        with pytest.raises(LogError, match="another run"):
            compact(Log(str(root)), before=TOMORROW)
        much_later = began + timedelta(hours=2)
        assert compact(Log(str(root)), before=TOMORROW, now=lambda: much_later).written == 3


def test_a_run_that_lost_its_lease_within_a_folder_writes_nothing_more(root: Path) -> None:
    log, began = Log(str(root)), datetime.now(UTC)
    write(root, [answered("early", "zero", seconds=-1)])
    two_files = 2 * max(file.size_bytes for file in log.files(PREDICTIONS)) + 1
    taken_over: list[Counter[str]] = []

    def slow(_line: str) -> None:
        """After the first group of a folder, simulate two hours in which rows arrive and another run ends."""
        if not taken_over:
            write(root, [answered("late", "four", seconds=-2)])
            compact(log, before=TOMORROW, file_bytes=two_files, now=lambda: began + timedelta(hours=2))
            taken_over.append(rows(root))

    with pytest.raises(LogError, match="another run"):
        compact(log, before=TOMORROW, file_bytes=two_files, now=lambda: began, on_progress=slow)
    assert rows(root) == taken_over[0] and sum(rows(root).values()) == 24 + 1 + 1


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_compacted_files_that_appear_late_change_no_rows(seed: int) -> None:
    """Runs that pause after they verified their lease write their files at any later time."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root, paused = Path(folder) / "log", list[tuple[Path, Path]]()
        written = 0
        for step in range(6):
            for _ in range(rng.randint(1, 3)):
                write(root, [answered(f"{written}", "one", seconds=rng.randint(-1000, 1000))])
                written += 1
            copy = Path(folder) / f"paused-{step}"
            shutil.copytree(root, copy)
            compact(Log(str(copy)), before=TOMORROW, file_bytes=rng.choice([6_000, 20_000, 1 << 20]))
            paused += [(file, root / file.relative_to(copy)) for file in copy.rglob(f"{COMPACTED}*.parquet")]
            rng.shuffle(paused)
            while paused and rng.random() < 0.4:
                source, target = paused.pop()
                if not target.exists():
                    shutil.copy(source, target)
            if rng.random() < 0.5:
                grace = rng.choice([NO_GRACE, timedelta(hours=1)])
                compact(Log(str(root)), before=TOMORROW, grace=grace)
            found = Counter(
                row for batch in Log(str(root)).predictions() for row in batch["request_id"].to_pylist()
            )
            assert found == Counter(str(number) for number in range(written))


def test_files_are_grouped_up_to_a_size() -> None:
    def file(name: str, size_bytes: int) -> LogFile:
        return LogFile(f"log/{name}", TOMORROW, "7", size_bytes, NOON)

    small = [file(f"{number}", 30) for number in range(7)]
    found = groups([*small, file("9-large", 60)], 100)
    assert [[one.name for one in group] for group in found] == [["0", "1", "2"], ["3", "4", "5"]]
