"""Reader of the prediction log and the feedback: batches of rows of a time window or a version.

`serve_app/prediction_log/records.py` and `parquet.py` define the layout and the columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet
from pyarrow.fs import FileSelector, FileType

from serve_app.prediction_log import parquet as written
from serve_app.prediction_log.records import FEEDBACK, PREDICTIONS, SCHEMA_VERSION
from train.datasets.files import absolute, open_filesystem
from train.errors import LogError
from train.prediction_log.visibility import Visibility, visibility

BATCH_ROWS = 65_536
COMPACTED = "compacted-"
"""Prefix of the names of files that `compacting` wrote."""
REPLACES = b"replaces"
"""Key in a compacted file's metadata: names of the files whose rows it contains, one per line."""

_LATER = {"audit_fraction": written.PREDICTION_COLUMNS.field("audit_fraction").type}
"""Columns that files of earlier releases do not have; their values are then null."""

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """Selection of predictions: from `since` on, before `until`, of `version` or of all versions.

    Both times need a time zone and are stored in UTC, because the partitions of the log are UTC days.
    """

    since: datetime = _FIRST
    until: datetime = _LAST
    version: str | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            time = getattr(self, name)
            if time.tzinfo is None:
                raise LogError(f"{name} {time} has no time zone; append one, such as +00:00")
            object.__setattr__(self, name, min(max(time, _FIRST), _LAST).astimezone(UTC))


@dataclass(frozen=True, slots=True)
class LogFile:
    """File of the log.

    Attributes:
        path: path in the log's file system.
        day: UTC day of its rows.
        version: version of the model; None for feedback.
        size_bytes: size of the file.
        modified: modification time.
    """

    path: str
    day: date
    version: str | None
    size_bytes: int
    modified: datetime

    @property
    def folder(self) -> str:
        """Return the path of its folder."""
        return str(PurePosixPath(self.path).parent)

    @property
    def name(self) -> str:
        """Return its name in the folder."""
        return PurePosixPath(self.path).name


class Log:
    """Prediction log in a folder or at `s3://bucket/prefix`, as in a replica's SENTIMENT_LOG_URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._address = uri.removeprefix("file://")

    @property
    def address(self) -> str:
        """Return the absolute URI, which does not depend on the working folder."""
        return absolute(self._address)

    def predictions(
        self, window: Window = Window(), columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a window, in no order, at most `BATCH_ROWS` at a time.

        Args:
            window: selection of the rows.
            columns: columns to read, in this order; all by default. Other columns are not read from the disk.

        Raises:
            LogError: the log cannot be read, or has no such column.
        """
        for file in self.files(PREDICTIONS, window):
            yield from self.rows(file, window, columns or written.PREDICTION_COLUMNS.names)

    def feedback(self, window: Window = Window()) -> Iterator[pa.RecordBatch]:
        """Yield the feedback in a window's time, in no order; the window's version is ignored."""
        for file in self.files(FEEDBACK, window):
            yield from self.rows(file, window, written.FEEDBACK_COLUMNS.names)

    def labels(self, window: Window = Window()) -> tuple[str, ...]:
        """Return the labels of the window's models, in the order of `scores`.

        Raises:
            LogError: there are no predictions, or their models have different labels.
        """
        newest = {file.version: file for file in self.every_file(PREDICTIONS, window)}
        found = {written.labels_of(self.schema(file).metadata) for file in newest.values()}
        if len(found) != 1:
            several = "the models have different labels; set --labels to those of one model"
            raise LogError(f"{self.uri}: {several if found else 'no predictions'}")
        return found.pop()

    def files(self, kind: str, window: Window = Window()) -> list[LogFile]:
        """Return the files that together contain each row of a window once, sorted by path."""
        files: list[LogFile] = []
        for _, of_folder in groupby(self.every_file(kind, window), key=lambda file: file.folder):
            found = list(of_folder)
            read = self.visibility(found)
            files += (file for file in found if file.name in read)
        return files

    def visibility(self, files: Sequence[LogFile]) -> Visibility:
        """Decide which files of one folder are read; `files` must be all of its files."""
        claims = {file.name: self.claims(file) for file in files if file.name.startswith(COMPACTED)}
        return visibility([file.name for file in files], claims)

    def every_file(self, kind: str, window: Window = Window()) -> list[LogFile]:
        """Return the same as `files`, and also the files that are ignored but not removed yet."""
        folder = f"{self.root}/{kind}"
        with self._translated(folder):
            infos = self.system.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
        files = [_log_file(info) for info in infos if info.type == FileType.File and _is_whole(info.path)]
        # One more day on either side is harmless, because rows are filtered one by one.
        first, last = window.since.date(), window.until.date()
        return sorted(
            (
                file
                for file in files
                if first <= file.day <= last and (kind == FEEDBACK or window.version in (None, file.version))
            ),
            key=lambda file: file.path,
        )

    def rows(
        self, file: LogFile, window: Window = Window(), columns: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file that are in the window's time."""
        names = list(dict.fromkeys([*columns, "time"]))
        with self._translated(file.path), self._open(file) as source:
            self._check_version(file, source.schema_arrow.metadata or {})
            missing = set(names) - set(source.schema_arrow.names)
            if unknown := missing - set(_LATER):
                raise LogError(f"{file.path} has no column {min(unknown)!r}")
            there = [name for name in names if name not in missing]
            for batch in source.iter_batches(batch_size=BATCH_ROWS, columns=there):
                for name in missing:
                    batch = batch.append_column(name, pa.nulls(batch.num_rows, _LATER[name]))
                chosen = _within(batch, window).select(list(columns))
                if chosen.num_rows:
                    yield chosen

    def schema(self, file: LogFile) -> pa.Schema:
        """Return the columns and metadata of a file."""
        with self._translated(file.path), self._open(file) as source:
            return source.schema_arrow

    def count(self, file: LogFile) -> int:
        """Return the number of rows of a file, from its footer."""
        with self._translated(file.path), self._open(file) as source:
            rows: int = source.metadata.num_rows
            return rows

    def claims(self, file: LogFile) -> frozenset[str]:
        """Return the names of the files whose rows a compacted file contains; empty for other files."""
        names: bytes = (self.schema(file).metadata or {}).get(REPLACES, b"")
        return frozenset(names.decode().splitlines())

    def remove(self, file: LogFile) -> None:
        """Delete a file if it exists."""
        with self._translated(file.path), suppress(FileNotFoundError):
            self.system.delete_file(file.path)

    @cached_property
    def _located(self) -> tuple[Any, str]:
        return open_filesystem(self._address)

    @property
    def system(self) -> Any:
        """Return the `pyarrow.fs.FileSystem` of the files' paths."""
        return self._located[0]

    @property
    def root(self) -> str:
        """Return the log's folder in that file system."""
        return self._located[1]

    def _open(self, file: LogFile) -> Any:
        return parquet.ParquetFile(self.system.open_input_file(file.path), pre_buffer=False)

    def _check_version(self, file: LogFile, metadata: Mapping[bytes, bytes]) -> None:
        found = metadata.get(written.VERSION.encode(), b"none").decode()
        if found != SCHEMA_VERSION:
            raise LogError(
                f"{file.path} has schema_version {found}; expected {SCHEMA_VERSION}; use the release that "
                "wrote it"
            )

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            raise LogError(f"{path} cannot be read: {error}") from error


def _is_whole(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.endswith(".parquet") and not name.startswith((".", "_"))


def _log_file(info: Any) -> LogFile:
    parts = PurePosixPath(info.path).parts
    keys = dict(part.split("=", 1) for part in parts if "=" in part)
    try:
        day = date.fromisoformat(keys["date"])
    except (KeyError, ValueError) as error:
        raise LogError(f"{info.path}: expected a folder date=YYYY-MM-DD in the path") from error
    version = unquote(keys["version"]) if "version" in keys else None
    return LogFile(info.path, day, version, info.size, info.mtime)


def _within(batch: pa.RecordBatch, window: Window) -> pa.RecordBatch:
    time = batch.column("time")
    if window.since > _FIRST:
        batch = batch.filter(pc.greater_equal(time, pa.scalar(window.since, time.type)))
        time = batch.column("time")
    if window.until < _LAST:
        batch = batch.filter(pc.less(time, pa.scalar(window.until, time.type)))
    return batch
