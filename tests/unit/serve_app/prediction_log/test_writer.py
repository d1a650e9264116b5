"""Tests of the log writer: it never blocks a request, loses no row within its bound, counts the rest."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from serve_app.errors import LogUnavailableError
from serve_app.prediction_log.parquet import EncodedLogFile
from serve_app.prediction_log.stores import FolderStore, S3Store, Store, open_store
from serve_app.prediction_log.writer import BufferLimits, Writer

NEVER_S = 3600.0
PATIENCE_S = 60.0


class Start(Protocol):
    def __call__(
        self, store: Store, *, buffer: int = 1000, flush_s: float = NEVER_S, file: int = 100
    ) -> Writer[Record]: ...


@dataclass(frozen=True)
class Record:
    name: str
    rows: int = 1
    size_bytes: int = 10


@dataclass
class Away:
    """Store that refuses until `back` is set; `asked` is set at the first refusal."""

    back: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    kept: dict[str, bytes] = field(default_factory=dict)
    hold: threading.Event | None = None
    """Event for which each put waits, if it is given."""

    def put(self, key: str, content: bytes) -> None:
        self.asked.set()
        if self.hold is not None:
            assert self.hold.wait(PATIENCE_S)
        if not self.back.is_set():
            raise LogUnavailableError("away")
        self.kept[key] = content


class Counted:
    """Counter of rows by outcome, with a method that waits for given counts."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __call__(self, outcome: str, rows: int) -> None:
        with self._changed:
            self.rows[outcome] += rows
            self._changed.notify_all()

    def wait_for(self, **rows: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.rows == rows, PATIENCE_S), self.rows


def encode(records: Sequence[Record]) -> list[EncodedLogFile]:
    """Return one file whose content is the records' names."""
    if any(record.name == "broken" for record in records):
        raise ValueError("cannot be encoded")
    content = " ".join(record.name for record in records).encode()
    return [EncodedLogFile(f"to/{records[0].name}.parquet", content, sum(record.rows for record in records))]


@pytest.fixture
def counted() -> Counted:
    return Counted()


@pytest.fixture
def start(counted: Counted) -> Iterator[Start]:
    writers: list[Writer[Record]] = []

    def start(
        store: Store, *, buffer: int = 1000, flush_s: float = NEVER_S, file: int = 100
    ) -> Writer[Record]:
        writers.append(Writer("log", encode, store, BufferLimits(buffer, flush_s, file), counted))
        return writers[-1]

    yield start
    for writer in writers:
        writer.close(patience_s=0)


def test_a_timer_a_full_file_and_the_end_each_write(start: Start, counted: Counted, tmp_path: Path) -> None:
    timed = start(FolderStore(tmp_path / "timed"), flush_s=0.01)
    assert timed.offer(Record("one"))
    counted.wait_for(written=1)

    sized = start(FolderStore(tmp_path / "sized"))
    assert all(sized.offer(Record(f"{number}")) for number in range(10))
    counted.wait_for(written=11)

    last = start(FolderStore(tmp_path / "last"))
    assert last.offer(Record("last", rows=3))
    last.close(patience_s=PATIENCE_S)
    assert counted.rows == {"written": 14} and last.held_bytes == 0
    assert not last.offer(Record("too late")) and counted.rows["dropped"] == 1
    assert (tmp_path / "sized/to/0.parquet").read_bytes() == b"0 1 2 3 4 5 6 7 8 9"
    assert (tmp_path / "last/to/last.parquet").read_bytes() == b"last"


def test_a_store_that_is_away_loses_nothing_within_the_bound(start: Start, counted: Counted) -> None:
    away = Away()
    writer = start(away, buffer=500)
    names = [f"{number}" for number in range(50)]
    assert all(writer.offer(Record(name)) for name in names)
    assert away.asked.wait(PATIENCE_S)  # records that the writer holds count against the bound, too
    assert not writer.offer(Record("no room", rows=2)) and writer.held_bytes == 500
    assert counted.rows == {"dropped": 2}

    away.back.set()
    counted.wait_for(dropped=2, written=50)
    assert b" ".join(away.kept.values()).decode().split() == names
    assert writer.offer(Record("room again"))


def test_a_store_that_hangs_does_not_hold_up_the_caller(start: Start, counted: Counted) -> None:
    away = Away(hold=threading.Event())
    writer = start(away, buffer=200)
    taken = sum(writer.offer(Record(f"{number}")) for number in range(100))
    assert taken == 20 and counted.rows == {"dropped": 80}
    assert away.hold is not None
    away.hold.set()


def test_what_cannot_be_written_before_the_end_has_failed(start: Start, counted: Counted) -> None:
    writer = start(Away())
    writer.offer(Record("lost", rows=3))
    writer.close(patience_s=0.01)
    assert counted.rows == {"failed": 3}


def test_a_record_that_cannot_be_encoded_does_not_end_the_log(
    start: Start, counted: Counted, tmp_path: Path
) -> None:
    writer = start(FolderStore(tmp_path), file=10)
    writer.offer(Record("broken"))
    counted.wait_for(failed=1)
    writer.offer(Record("whole"))
    counted.wait_for(failed=1, written=1)


def test_a_full_disk_and_a_denied_folder_are_errors_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LogUnavailableError, match="cannot be written"):
        FolderStore(tmp_path / "file").put("day/one.parquet", b"content")
    full = Path("/dev/full")
    if full.exists():
        (tmp_path / ".one.parquet.part").symlink_to(full)  # the path of the store's temporary file
        with pytest.raises(LogUnavailableError, match="No space left on device"):
            FolderStore(tmp_path).put("one.parquet", b"content")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_addresses(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/of%20log").put("a/b", b"content")
    assert (tmp_path / "of log" / "a" / "b").read_bytes() == b"content"
    assert isinstance(open_store("s3://bucket/prefix/"), S3Store)
