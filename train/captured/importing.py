"""Bulk import of feedback: request ids and labels in CSV, JSONL or Parquet become files of the log."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from serve_app.capture.parquet import feedback_files
from serve_app.capture.records import AUDIT, Truth
from serve_app.capture.stores import open_store
from serve_app.errors import LogUnavailable
from train.errors import DataInvalid, LogInvalid
from train.texts.files import list_files
from train.texts.reading import read_columns

_FILE_ROWS = 50_000
_MOST_INDEX = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class ImportColumns:
    """What the columns of the file are called; `index` (else 0) and `time` (else now) may be missing.

    `label_names`: a value of the label column -> a label of the model; none: the values are labels.
    """

    request_id: str = "request_id"
    index: str = "index"
    label: str = "label"
    time: str = "time"
    label_names: Mapping[str, str] = field(default_factory=dict)


def import_feedback(
    address: str,
    log_uri: str,
    labels: Sequence[str],
    columns: ImportColumns = ImportColumns(),
    *,
    now: datetime,
    audit: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> int:
    """Add the rows of a file, or of all files of a folder, to the feedback of a log.

    Every row is checked before the first is written. Importing a file twice does no harm: what is said twice
    counts once.

    Args:
        address: a path, or s3://bucket/prefix.
        log_uri: the log, as SENTIMENT_LOG_URI.
        labels: that the model has.
        columns: of the file.
        now: the time of rows that have none.
        audit: whether the rows label the audit sample; those without a label are then not labelled yet.
        tell: told how many rows are written so far.

    Returns:
        Rows written.

    Raises:
        DataInvalid: the file cannot be read, or a row is not feedback; names file, row and column. Nothing is
            written then.
        LogInvalid: the log cannot be written.
    """
    for _ in _truths(address, labels, columns, now, audit):
        pass
    store, rows, waiting = open_store(log_uri), 0, []
    try:
        for truth in _truths(address, labels, columns, now, audit):
            waiting.append(truth)
            if len(waiting) == _FILE_ROWS:
                rows += _write(store, waiting)
                waiting = []
                tell(rows)
        return rows + _write(store, waiting)
    except LogUnavailable as error:
        raise LogInvalid(
            f"{error}; {rows:,} rows are written, and importing all of them again is safe"
        ) from error


def _write(store: Any, truths: Sequence[Truth]) -> int:
    for file in feedback_files(truths):
        store.put(file.key, file.content)
    return len(truths)


def _truths(
    address: str, labels: Sequence[str], columns: ImportColumns, now: datetime, audit: bool
) -> Iterator[Truth]:
    for file in list_files(address):
        row, source = 0, AUDIT if audit else PurePosixPath(file).name
        needed, wanted = (columns.request_id, columns.label), (columns.index, columns.time)
        for batch in read_columns(file, needed, wanted):
            request_ids, said = batch[columns.request_id], batch[columns.label]
            empty = [None] * len(said)
            indices, times = (batch.get(name, empty) for name in wanted)
            for request_id, label, index, time in zip(request_ids, said, indices, times, strict=True):
                where = f"{file} row {row} column"
                row += 1
                if audit and label in (None, ""):
                    continue
                yield Truth(
                    _request_id(request_id, f"{where} {columns.request_id!r}"),
                    _index(index, f"{where} {columns.index!r}"),
                    _label(label, labels, columns.label_names, f"{where} {columns.label!r}"),
                    int(_time(time, now, f"{where} {columns.time!r}").timestamp() * 1e6),
                    source,
                )


def _request_id(value: object, where: str) -> str:
    if value is None or not str(value).strip():
        raise DataInvalid(f"{where}: no request id; remove the row")
    return str(value)


def _index(value: object, where: str) -> int:
    try:
        index = 0 if value in (None, "") else int(str(value))
    except ValueError:
        index = -1
    if not 0 <= index <= _MOST_INDEX:
        raise DataInvalid(f"{where}: {value!r} is not the index of a text; write 0 for the first")
    return index


def _label(value: object, labels: Sequence[str], names: Mapping[str, str], where: str) -> str:
    label = names.get(str(value), str(value))
    if label not in labels:
        raise DataInvalid(f"{where}: label {label!r}; the model has {', '.join(labels)}")
    return label


def _time(value: object, now: datetime, where: str) -> datetime:
    if value in (None, ""):
        return now
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise DataInvalid(
            f"{where}: {value!r} is not a time; write it as 2026-11-26T10:15:00+00:00"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
