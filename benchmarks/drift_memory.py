"""`python -m benchmarks.drift_memory`: time and memory of `train drift` for 1 and 10 million rows.

Every generated row has a text, and every hundredth has feedback. The first line, for a thousand rows, shows
the memory of the model and the libraries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from loadtest.synthetic_texts import invent
from serve_app.model.bundle import read_manifest, rewrite_manifest
from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from serve_app.prediction_log.parquet import FEEDBACK_COLUMNS, PREDICTION_COLUMNS, TIME, with_metadata
from serve_app.prediction_log.records import feedback_folder, predictions_folder
from train.model_uri import CACHE
from train.profile import profile_texts, write_profile

LABELS = ("NEGATIVE", "POSITIVE")
NAME, VERSION = "builtin-sentiment", "1"
FILE_ROWS = 250_000
SEGMENTS = 1_000
JUDGED = 100
"""One row in this many has feedback."""
DAY = datetime(2026, 11, 25, tzinfo=UTC)
_TEXTS = 2_000


def main() -> int:
    """Generate the logs, run the drift check, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_memory", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 1_000_000, 10_000_000])
    options = parser.parse_args()
    print("| rows | log | seconds | most memory |\n| --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "bundle")
        for rows in options.rows:
            log = Path(folder) / "log"
            size_mb = write_log(log, rows) / 1e6
            begun_s = time.monotonic()
            peak_mb = peak_bytes(log, bundle) / 1e6
            seconds = time.monotonic() - begun_s
            print(f"| {rows:,} | {size_mb:,.0f} MB | {seconds:.0f} | {peak_mb:,.0f} MB |", flush=True)
            shutil.rmtree(log)
    return 0


def write_bundle(folder: Path) -> Path:
    """Write the built-in model with a reference profile of generated texts."""
    bundle = fetch("builtin:", cache_dir=CACHE)
    shutil.copytree(bundle.folder, folder)
    texts = short_texts(256, 1)
    manifest = read_manifest(folder)
    classifier = Classifier(bundle, threads=1)
    profile, embeddings = profile_texts(
        classifier, texts, [0] * len(texts), temperature=manifest.temperature, unknown_token=100
    )
    rewrite_manifest(folder, manifest, reference_profile=write_profile(folder, profile, embeddings))
    return folder


def short_texts(count: int, seed: int) -> list[str]:
    """Return generated texts of one or two sentences, so that the model's share is equal in every line."""
    return [text for text in invent(3 * count, seed) if len(text.split()) <= 20][:count]


def write_log(root: Path, rows: int) -> int:
    """Write a log of one day with feedback, in files of 250,000 rows; return its bytes."""
    rng = np.random.default_rng(0)
    texts = pa.array(short_texts(_TEXTS, 0))
    predictions = root / predictions_folder(DAY.date().isoformat(), VERSION)
    feedback = root / feedback_folder(DAY.date().isoformat())
    for folder in (predictions, feedback):
        folder.mkdir(parents=True)
    for begin in range(0, rows, FILE_ROWS):
        numbers = np.arange(begin, min(begin + FILE_ROWS, rows))
        table = _predictions(numbers, texts, rng)
        parquet.write_table(table, predictions / f"{begin:09}.parquet", compression="zstd")
        judged = table.take(pa.array(np.flatnonzero(numbers % JUDGED == 0)))
        said = pa.Table.from_arrays(
            [judged[name] for name in ("request_id", "index", "label", "time")]
            + [pa.array(["api"] * judged.num_rows)],
            schema=with_metadata(FEEDBACK_COLUMNS),
        )
        parquet.write_table(said, feedback / f"{begin:09}.parquet", compression="zstd")
    return sum(file.stat().st_size for file in root.rglob("*.parquet"))


def _predictions(numbers: np.ndarray, texts: pa.Array, rng: np.random.Generator) -> pa.Table:
    """Return rows in the service's format, at equal distances over the day."""
    count = len(numbers)
    score = rng.uniform(0.5, 1, count).astype(np.float32)
    positive = rng.random(count) < 0.5
    scores = np.where(positive[:, None], np.stack([1 - score, score], 1), np.stack([score, 1 - score], 1))
    time_us = int(DAY.timestamp() * 1e6) + numbers * 8_000
    text = texts.take(pa.array(rng.integers(0, _TEXTS, count)))
    columns = {
        "request_id": pa.array([f"{number:032x}" for number in numbers.tolist()]),
        "index": pa.array(np.zeros(count, dtype=np.int32)),
        "time": pa.array(time_us).cast(TIME),
        "text": text,
        "text_sha256": pa.array([f"{number:064x}" for number in numbers.tolist()]),
        "segment": pa.array([f"product {of}" for of in rng.integers(0, SEGMENTS, count).tolist()]),
        "label": pa.array(LABELS).take(pa.array(positive.astype(np.int8))),
        "score": pa.array(score),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(scores.ravel()), 2).cast(pa.list_(pa.float32())),
        "tokens": pa.array(rng.integers(5, 80, count).astype(np.int32)),
        "unknown_tokens": pa.array((rng.random(count) < 0.01).astype(np.int32)),
        "truncated": pa.array(np.zeros(count, dtype=bool)),
        "latency_ms": pa.array(rng.uniform(5, 50, count).astype(np.float32)),
        "model": pa.array([NAME] * count),
        "version": pa.array([VERSION] * count),
        "role": pa.array(["champion"] * count),
        "audit_fraction": pa.nulls(count, pa.float64()),
    }
    schema = with_metadata(PREDICTION_COLUMNS, LABELS)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def peak_bytes(log: Path, bundle: Path) -> int:
    """Return the peak resident memory of one run, as counted by the kernel."""
    window = ["--since", DAY.isoformat(), "--until", "2026-12-30T00:00:00+00:00"]
    command = [sys.executable, "-m", "train", "drift", "--log", str(log), "--bundle", str(bundle), *window]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=one_thread)
    assert run.stderr is not None
    said = run.stderr.read().decode()
    _, status, usage = os.wait4(run.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3, 4):
        raise SystemExit(said)
    return usage.ru_maxrss * 1024


if __name__ == "__main__":
    raise SystemExit(main())
