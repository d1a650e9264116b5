"""`python -m benchmarks.log_memory`: time and memory of reading and joining 1 and 10 million rows.

The log is generated: one text per request, over ten days and two versions. Every fourth row has feedback;
one in twenty of these reports is repeated, and one in fifty is contradicted by another. Each measurement runs
in a separate process; the table shows its peak resident memory, and that of the imports alone for comparison.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from loadtest.synthetic_texts import invent
from serve_app.prediction_log.parquet import COMPRESSION, FEEDBACK_COLUMNS, PREDICTION_COLUMNS, with_metadata
from serve_app.prediction_log.records import feedback_folder, predictions_folder

LABELS = ("NEGATIVE", "POSITIVE")
FILE_ROWS = 100_000
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = 10

WORK = {
    "imports": "",
    "read every column": "rows = sum(batch.num_rows for batch in log.predictions())",
    "read scores": "rows = sum(batch.num_rows for batch in log.predictions(columns=['label', 'score']))",
    "join scores": "rows = sum(batch.num_rows for batch in Join(log, Window(), ['label', 'score']))",
    "join texts": "rows = sum(batch.num_rows for batch in Join(log, Window(), ['text', 'label', 'segment']))",
    "retraining": "rows = write_labelled(log, Window(), LABELS, Path(sys.argv[2]), max_texts=200_000).rows",
}
PROGRAM = """
import json, re, sys, time
from pathlib import Path
import pandas
from train.prediction_log.join import Join
from train.prediction_log.reader import Log, Window
from train.retraining.feedback_dataset import write_labelled
LABELS = ("NEGATIVE", "POSITIVE")
log, rows, began = Log(sys.argv[1]), 0, time.monotonic()
{work}
most_kib = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps([rows, time.monotonic() - began, most_kib * 1024 / 1e6]))
"""


def main() -> int:
    """Generate the logs, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--what", nargs="+", choices=WORK, default=list(WORK), help="(default: all)")
    options = parser.parse_args()
    print("| rows | log | what | rows read | seconds | peak memory |\n| --- | --- | --- | --- | --- | --- |")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), rows)
            size_mb = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet")) / 1e6
            for what in options.what:
                command = [sys.executable, "-c", PROGRAM.format(work=WORK[what]), folder, f"{folder}/out"]
                read, seconds, peak_mb = json.loads(subprocess.check_output(command))
                log = f"| {rows:,} | {size_mb:,.0f} MB | {what}"
                print(f"{log} | {read:,} | {seconds:.1f} | {peak_mb:,.0f} MB |", flush=True)
    return 0


def make(root: Path, rows: int) -> None:
    """Write a log of `rows` predictions, and feedback on a quarter of them."""
    rng = np.random.default_rng(0)
    texts = pa.array(invent(5_000, 0))
    per_file = min(FILE_ROWS, rows // DAYS)
    for number, begin in enumerate(range(0, rows, per_file)):
        count = min(per_file, rows - begin)
        day = BEGAN + timedelta(days=begin * DAYS // rows)
        version = str(number % 2)
        predictions = _predictions(rng, texts, count, day, version)
        folder = root / predictions_folder(day.date().isoformat(), version)
        _write(folder, number, predictions.replace_schema_metadata(_metadata(PREDICTION_COLUMNS)))
        folder = root / feedback_folder(day.date().isoformat())
        _write(folder, number, pa.concat_tables(_feedback(rng, predictions, day)))


def _metadata(columns: pa.Schema) -> dict[bytes, bytes]:
    metadata: dict[bytes, bytes] = with_metadata(columns, LABELS).metadata
    return metadata


def _predictions(
    rng: np.random.Generator, texts: pa.Array, count: int, day: datetime, version: str
) -> pa.Table:
    scores = rng.random(count, dtype=np.float32)
    positive = scores > 0.5
    lists = pa.ListArray.from_arrays(
        np.arange(0, 2 * count + 1, 2, dtype=np.int32), np.stack([1 - scores, scores], axis=1).ravel()
    )
    columns = {
        "request_id": _hex(rng, count, 16),
        "index": np.zeros(count, np.int32),
        "time": _times(rng, count, day),
        "text": texts.take(pa.array(rng.integers(0, len(texts), count))),
        "text_sha256": _hex(rng, count, 32),
        "segment": pa.array(rng.choice(["cream", "soap", "brush"], count)),
        "label": pa.array(np.where(positive, "POSITIVE", "NEGATIVE")),
        "score": np.maximum(scores, 1 - scores),
        "scores": lists.cast(PREDICTION_COLUMNS.field("scores").type),
        "tokens": rng.integers(4, 128, count).astype(np.int32),
        "unknown_tokens": np.zeros(count, np.int32),
        "truncated": np.zeros(count, bool),
        "latency_ms": rng.random(count, dtype=np.float32) * 100,
        "model": pa.array(["made"] * count),
        "version": pa.array([version] * count),
        "role": pa.array(["champion"] * count),
        "audit_fraction": pa.nulls(count, pa.float64()),
    }
    return pa.table(columns, schema=PREDICTION_COLUMNS)


def _feedback(rng: np.random.Generator, predictions: pa.Table, day: datetime) -> Iterator[pa.Table]:
    """Yield feedback on a quarter of the rows.

    A twentieth of it is repeated, and a fiftieth is repeated with the other label.
    """
    chosen = pa.array(np.flatnonzero(rng.random(predictions.num_rows) < 0.25))
    said = predictions.select(["request_id", "index", "label"]).take(chosen)
    other = pa.array(np.where(said["label"].to_numpy() == "POSITIVE", "NEGATIVE", "POSITIVE"))
    for share, labels in ((1, said["label"]), (20, said["label"]), (50, other)):
        rows = said.set_column(2, "label", labels).slice(0, said.num_rows // share)
        times = _times(rng, rows.num_rows, day + timedelta(hours=share))
        rows = rows.append_column("time", pa.array(times, FEEDBACK_COLUMNS.field("time").type))
        rows = rows.append_column("source", pa.array(["made"] * rows.num_rows))
        yield rows.replace_schema_metadata(with_metadata(FEEDBACK_COLUMNS).metadata)


def _times(rng: np.random.Generator, count: int, day: datetime) -> pa.Array:
    micros = int(day.timestamp() * 1e6) + rng.integers(0, 3_600_000_000, count)
    return pa.array(micros, FEEDBACK_COLUMNS.field("time").type)


def _hex(rng: np.random.Generator, count: int, size_bytes: int) -> pa.Array:
    digits = rng.bytes(count * size_bytes).hex().encode()
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * 2 * size_bytes)
    return pa.StringArray.from_buffers(count, offsets.buffers()[1], pa.py_buffer(digits))


def _write(folder: Path, number: int, table: pa.Table) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, folder / f"{number:06}.parquet", compression=COMPRESSION)


if __name__ == "__main__":
    began = time.monotonic()
    code = main()
    print(f"in {time.monotonic() - began:.0f} s", file=sys.stderr)
    raise SystemExit(code)
