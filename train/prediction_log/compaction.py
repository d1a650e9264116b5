"""Compaction: many small files of a day are merged into few files of a size that is fast to read.

A compacted file is written atomically, and its metadata lists the files whose rows it contains; from then on,
readers ignore those files. A later run removes them, after the readers that still use them have finished. So
each row is readable exactly once, also if a run is interrupted, and the next run continues:

    small files ──> compacted file is written, small files are ignored ──> later: small files are removed

A run verifies its lease before it writes or removes a file. If a paused run writes a file after another run
has taken over the lease, `visibility` detects the file and readers ignore it.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from serve_app.prediction_log.parquet import COMPRESSION
from serve_app.prediction_log.records import FEEDBACK, PREDICTIONS
from train.prediction_log.lease import leased
from train.prediction_log.reader import BATCH_ROWS, COMPACTED, REPLACES, Log, LogFile, Window
from train.storage.base import open_place

FILE_BYTES = 128 << 20
GRACE = timedelta(hours=1)


@dataclass(slots=True)
class Compaction:
    """Result of a compaction; `files_before` and `files_after` count the files that readers see."""

    files_before: int = 0
    files_after: int = 0
    written: int = 0
    removed: int = 0


def compact(
    log: Log,
    *,
    before: date,
    file_bytes: int = FILE_BYTES,
    grace: timedelta = GRACE,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_progress: Callable[[str], None] = lambda _: None,
) -> Compaction:
    """Compact the days before `before`; replicas write only late rows to them.

    Only one run is possible at a time; a second one is refused.

    Args:
        log: log to compact.
        before: first day that is not compacted.
        file_bytes: target size of the files in bytes; files larger than half of it are not changed.
        grace: time for which replaced files are kept for current readers.
        now: clock.
        on_progress: callback that receives one line per folder.

    Raises:
        LogError: the log cannot be read or written, or another run is compacting it.
    """
    done = Compaction()
    until = datetime(before.year, before.month, before.day, tzinfo=UTC) - timedelta(microseconds=1)
    with leased(log.uri, now) as renew:
        for kind in (PREDICTIONS, FEEDBACK):
            files = log.every_file(kind, Window(until=until))
            for folder, found in groupby(files, key=lambda file: file.folder):
                cleaned = _clean(log, list(found), older_than=now() - grace, renew=renew)
                free = [file for file in cleaned.seen if file.name not in cleaned.resting]
                done.removed += cleaned.removed
                done.files_before += len(cleaned.seen)
                done.files_after += len(cleaned.seen)
                for group in _alike(log, groups(free, file_bytes)):
                    _write(log, folder, group, renew)
                    done.written += 1
                    done.files_after += 1 - len(group)
                    size_bytes = sum(file.size_bytes for file in group)
                    on_progress(f"{folder}: {len(group)} files ({size_bytes:,} bytes) merged into one")
    return done


def groups(files: Sequence[LogFile], file_bytes: int) -> list[list[LogFile]]:
    """Return groups of files to merge, in the order of their names, up to `file_bytes`; omit single files."""
    found: list[list[LogFile]] = []
    size_bytes = 0
    for file in sorted(files, key=lambda file: file.name):
        if 2 * file.size_bytes > file_bytes:
            continue
        if not found or size_bytes + file.size_bytes > file_bytes:
            found.append([])
            size_bytes = 0
        found[-1].append(file)
        size_bytes += file.size_bytes
    return [group for group in found if len(group) > 1]


@dataclass(frozen=True, slots=True)
class _Cleaned:
    """Folder after its replaced files were removed.

    Attributes:
        seen: files that readers see.
        resting: names of compacted files whose sources still exist; they cannot be compacted again yet.
        removed: number of removed files.
    """

    seen: list[LogFile]
    resting: set[str]
    removed: int


def _clean(
    log: Log, files: Sequence[LogFile], *, older_than: datetime, renew: Callable[[], None]
) -> _Cleaned:
    """Remove the sources of compacted files, and void files, where these are older than `older_than`."""
    renew()
    by_name = {file.name: file for file in files}
    read = log.visibility(files)
    resting: set[str] = set()
    unread = {name for name in read.void if by_name[name].modified <= older_than}
    for file in files:
        if file.name.startswith(COMPACTED) and file.name not in read.void:
            left = log.claims(file) & by_name.keys()
            if file.modified <= older_than:
                unread |= left
            elif left:
                resting.add(file.name)
    for name in sorted(unread):
        renew()
        log.remove(by_name[name])
    return _Cleaned([file for file in files if file.name in read], resting, len(unread))


def _alike(log: Log, found: Sequence[Sequence[LogFile]]) -> Iterator[list[LogFile]]:
    """Yield, for each group, the sets of several files with the same columns and labels."""
    for group in found:
        kinds: dict[Any, list[LogFile]] = {}
        for file in group:
            schema = log.schema(file)
            said = {key: value for key, value in (schema.metadata or {}).items() if key != REPLACES}
            kinds.setdefault((str(schema.remove_metadata()), tuple(sorted(said.items()))), []).append(file)
        yield from (alike for alike in kinds.values() if len(alike) > 1)


def _write(log: Log, folder: str, sources: Sequence[LogFile], renew: Callable[[], None]) -> None:
    """Write the rows of the sources to one file; the same sources always result in the same name."""
    names = "\n".join(file.name for file in sources)
    name = f"{COMPACTED}{hashlib.sha256(names.encode()).hexdigest()[:32]}.parquet"
    claims = frozenset(file.name for file in sources).union(*(log.claims(file) for file in sources))
    schema = log.schema(sources[0])
    schema = schema.with_metadata({**(schema.metadata or {}), REPLACES: "\n".join(sorted(claims)).encode()})
    with tempfile.TemporaryDirectory(prefix="compact-") as scratch:
        path = Path(scratch) / name
        with parquet.ParquetWriter(path, schema, compression=COMPRESSION) as target:
            for rows in _filled(batch for file in sources for batch in log.rows(file, columns=schema.names)):
                renew()
                target.write_table(rows.replace_schema_metadata(schema.metadata))
        renew()
        key = str(PurePosixPath(folder).relative_to(log.root) / name)
        open_place(log.uri).put(key, path)


def _filled(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of about `BATCH_ROWS` rows; each becomes a row group."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(each.num_rows for each in waiting) >= BATCH_ROWS:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)
