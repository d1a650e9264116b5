"""Parquet encoding of log records: schemas and files. The only module of this package that imports pyarrow.

It is imported only if the prediction log is enabled, because pyarrow needs much memory.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import parquet

from serve_app.interface import LiveModel, Prediction
from serve_app.prediction_log.records import (
    SCHEMA_VERSION,
    FeedbackRecord,
    PredictionRecord,
    date_of,
    feedback_folder,
    file_name,
    predictions_folder,
)
from serve_app.prediction_log.redaction import digest, kept_text
from serve_app.settings import LogPrivacy

TIME = pa.timestamp("us", tz="UTC")
COMPRESSION = "zstd"

PREDICTION_COLUMNS = pa.schema(
    [
        ("request_id", pa.string()),
        ("index", pa.int32()),
        ("time", TIME),
        ("text", pa.string()),
        ("text_sha256", pa.string()),
        ("segment", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("scores", pa.list_(pa.float32())),
        ("tokens", pa.int32()),
        ("unknown_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("latency_ms", pa.float32()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("role", pa.string()),
        ("audit_fraction", pa.float64()),
    ]
)
"""One row per text with its prediction; `scores` are in the order of the metadata's `labels`.
`audit_fraction` is the fraction of requests that are marked for labelling if this request is one of them,
otherwise null."""

FEEDBACK_COLUMNS = pa.schema(
    [
        ("request_id", pa.string()),
        ("index", pa.int32()),
        ("label", pa.string()),
        ("time", TIME),
        ("source", pa.string()),
    ]
)
"""One row per feedback on a text, which (`request_id`, `index`) identifies."""

LABELS = "labels"
"""Key in a file's metadata: the model's labels in the order of `scores`, one per line."""
VERSION = "schema_version"
"""Key in a file's metadata: version of the columns."""

Record = TypeVar("Record")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class EncodedLogFile:
    """File to write: key below the root, content, and number of rows."""

    key: str
    content: bytes
    rows: int


def prediction_files(records: Sequence[PredictionRecord], privacy: LogPrivacy) -> list[EncodedLogFile]:
    """Encode predictions as files, one for each date and model."""
    files = []
    groups = _grouped(records, lambda record: (date_of(record.time_us), record.answer.model.digest))
    for (date, _), group in groups.items():
        model = group[0].answer.model
        rows = [row for record in group for row in _rows(record, privacy)]
        schema = with_metadata(PREDICTION_COLUMNS, model.labels)
        folder = predictions_folder(date, model.version)
        files.append(_file(folder, group[0].time_us, rows, schema))
    return files


def feedback_files(records: Sequence[FeedbackRecord]) -> list[EncodedLogFile]:
    """Encode feedback as files, one for each date."""
    files = []
    for date, group in _grouped(records, lambda truth: date_of(truth.time_us)).items():
        rows = [(one.request_id, one.index, one.label, one.time_us, one.source) for one in group]
        files.append(_file(feedback_folder(date), group[0].time_us, rows, with_metadata(FEEDBACK_COLUMNS)))
    return files


def with_metadata(columns: pa.Schema, labels: Sequence[str] = ()) -> pa.Schema:
    """Return the columns with the metadata of a file."""
    metadata = {VERSION: SCHEMA_VERSION}
    return columns.with_metadata(metadata | {LABELS: "\n".join(labels)} if labels else metadata)


def labels_of(metadata: Mapping[bytes, bytes] | None) -> tuple[str, ...]:
    """Return the labels in a file's metadata."""
    return tuple((metadata or {}).get(LABELS.encode(), b"").decode().split("\n"))


def _grouped(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """Return the records by key, in their order."""
    groups: dict[Key, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def _rows(record: PredictionRecord, privacy: LogPrivacy) -> list[tuple[Any, ...]]:
    model = record.answer.model
    return [
        (
            record.request_id,
            index,
            record.time_us,
            kept_text(text, privacy),
            digest(text),
            record.segment_of(index),
            *_scored(model, scored),
            record.latency_ms,
            model.name,
            model.version,
            record.role,
            record.audit_fraction,
        )
        for index, (text, scored) in enumerate(zip(record.texts, record.answer.results, strict=True))
    ]


def _scored(model: LiveModel, scored: Prediction) -> tuple[Any, ...]:
    best = max(scored.scores)
    label = model.labels[scored.scores.index(best)]
    return label, best, scored.scores, scored.tokens, scored.unknown_tokens, scored.truncated


def _file(folder: str, time_us: int, rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> EncodedLogFile:
    columns = [
        pa.array(values, column.type) for values, column in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression=COMPRESSION)
    return EncodedLogFile(f"{folder}/{file_name(time_us)}", sink.getvalue().to_pybytes(), len(rows))
