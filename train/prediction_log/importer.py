"""Bulk import of feedback: request ids and labels from CSV, JSONL or Parquet files into the log."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from serve_app.errors import LogUnavailableError, excerpt
from serve_app.prediction_log.parquet import feedback_files
from serve_app.prediction_log.records import AUDIT, FeedbackRecord
from serve_app.prediction_log.stores import open_store
from train.datasets.delimited import USUAL, Layout
from train.datasets.files import list_files
from train.datasets.reading import normalised, read_columns
from train.errors import DataError, LogError

_FILE_ROWS = 50_000
_MOST_INDEX = (1 << 31) - 1
_CLOCKS_DIFFER = timedelta(minutes=1)
"""Maximum difference between a time and this machine's clock at which the time does not count as future."""


@dataclass(frozen=True, slots=True)
class ImportColumns:
    """Column names of the file; `index` (default 0) and `time` (default: now) are optional.

    `label_names` maps values of the label column to labels of the model; without it, the values are labels.
    """

    request_id: str = "request_id"
    index: str = "index"
    label: str = "label"
    time: str = "time"
    label_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ImportCounts:
    """Result of an import: numbers of rows, except `contradicting`.

    Attributes:
        rows: rows written.
        decimal_index: rows with an index such as 1.0, which was read as 1.
        future_time: rows with a time in the future, which were written with the time of the import.
        duplicate: rows with the same text and label as another row.
        contradicting: texts with different labels.
    """

    rows: int = 0
    decimal_index: int = 0
    future_time: int = 0
    duplicate: int = 0
    contradicting: int = 0


def import_feedback(
    address: str,
    log_uri: str,
    labels: Sequence[str],
    columns: ImportColumns = ImportColumns(),
    *,
    now: datetime,
    layout: Layout = USUAL,
    audit: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> ImportCounts:
    """Add the rows of a file, or of all files of a folder, to the feedback of a log.

    Every row is checked before the first one is written. A file can be imported twice: readers count
    duplicate feedback once.

    Args:
        address: path or s3://bucket/prefix of the files.
        log_uri: URI of the log, as in SENTIMENT_LOG_URI.
        labels: labels of the model.
        columns: column names of the file.
        now: time of rows without a time.
        layout: layout of CSV files.
        audit: whether the rows label the audit sample; rows without a label are then skipped.
        on_progress: callback that receives the number of rows written so far.

    Raises:
        DataError: the file cannot be read, or a row is not feedback; the message names the file, row and
            column. Nothing is written then.
        LogError: the log cannot be written.
    """
    _check_names(columns.label_names, labels)
    counts = ImportCounts()
    _count_repeats(_truths(address, labels, columns, now, layout, audit, counts), counts)
    store, waiting = open_store(log_uri), []
    try:
        for truth in _truths(address, labels, columns, now, layout, audit, ImportCounts()):
            waiting.append(truth)
            if len(waiting) == _FILE_ROWS:
                counts.rows += _write(store, waiting)
                waiting = []
                on_progress(counts.rows)
        counts.rows += _write(store, waiting)
    except LogUnavailableError as error:
        raise LogError(
            f"{error}; {counts.rows:,} rows were written; retry, importing rows again is safe"
        ) from error
    return counts


def _count_repeats(truths: Iterable[FeedbackRecord], counts: ImportCounts) -> None:
    """Count repeated texts by 64-bit hashes: 16 bytes per row, independent of the length of the ids."""
    said = array("Q")  # alternating: hash of the text, hash of the text and its label
    for truth in truths:
        text = f"{truth.request_id}\n{truth.index}"
        said.extend((_hash(text), _hash(f"{text}\n{truth.label}")))
    pairs = np.frombuffer(said, dtype=np.uint64).reshape(-1, 2)
    distinct = np.unique(pairs, axis=0)
    _, labels = np.unique(distinct[:, 0], return_counts=True)
    counts.duplicate = len(pairs) - len(distinct)
    counts.contradicting = int((labels > 1).sum())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _write(store: Any, truths: Sequence[FeedbackRecord]) -> int:
    for file in feedback_files(truths):
        store.put(file.key, file.content)
    return len(truths)


def _truths(
    address: str,
    labels: Sequence[str],
    columns: ImportColumns,
    now: datetime,
    layout: Layout,
    audit: bool,
    counts: ImportCounts,
) -> Iterator[FeedbackRecord]:
    known = {label: label for label in labels} | dict(columns.label_names)
    known = {str(normalised(value)): label for value, label in known.items()}
    for file in list_files(address):
        row, source = 0, AUDIT if audit else PurePosixPath(file).name
        needed, wanted = (columns.request_id, columns.label), (columns.index, columns.time)
        for batch in read_columns(file, needed, wanted, layout):
            request_ids, said = batch[columns.request_id], batch[columns.label]
            empty = [None] * len(said)
            indices, times = (batch.get(name, empty) for name in wanted)
            for request_id, label, index, time in zip(request_ids, said, indices, times, strict=True):
                where = f"{file} row {row} column"
                row += 1
                if audit and label in (None, ""):
                    continue
                yield FeedbackRecord(
                    _request_id(request_id, f"{where} {columns.request_id!r}"),
                    _index(index, f"{where} {columns.index!r}", counts),
                    _label(label, known, f"{where} {columns.label!r}"),
                    int(_time(time, now, f"{where} {columns.time!r}", counts).timestamp() * 1e6),
                    source,
                )


def _request_id(value: object, where: str) -> str:
    if value is None or not str(value).strip():
        raise DataError(f"{where}: the request id is empty; remove the row")
    return str(value)


def _index(value: object, where: str, counts: ImportCounts) -> int:
    text = normalised(value) or "0"
    if not (text.isdecimal() and int(text) <= _MOST_INDEX):
        raise DataError(f"{where}: {value!r} is not the index of a text; expected 0 to {_MOST_INDEX}")
    counts.decimal_index += "." in str(value)
    return int(text)


def _label(value: object, known: Mapping[str, str], where: str) -> str:
    label = known.get(str(normalised(value)))
    if label is None:
        raise DataError(
            f"{where}: label {excerpt(str(value))}; expected one of "
            f"{', '.join(sorted(set(known.values())))}, or a mapping with --label-names"
        )
    return label


def _check_names(names: Mapping[str, str], labels: Sequence[str]) -> None:
    """Raise DataError if a value is mapped to an unknown label."""
    for value, label in names.items():
        if label not in labels:
            raise DataError(
                f"--label-names {value}={label}: {label!r} is not a label of the model; expected one of "
                f"{', '.join(labels)}"
            )


def _time(value: object, now: datetime, where: str, counts: ImportCounts) -> datetime:
    if value in (None, ""):
        return now
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise DataError(
            f"{where}: {value!r} is not a time; expected ISO 8601, such as 2026-11-26T10:15:00+00:00"
        ) from error
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    if time <= now + _CLOCKS_DIFFER:
        return time
    counts.future_time += 1
    return now
