"""What people said of logged texts, as a labelled set on the disk; memory does not grow with the log."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from train.captured.joining import TRUTH, Join
from train.captured.reading import Log, Window
from train.errors import DataInvalid
from train.settings import FileSettings
from train.texts.files import copy_to
from train.texts.parts import keys_of, one_of_each
from train.texts.reading import read_examples

FILE = "feedback.parquet"
_COLUMNS = pa.schema([("text", pa.string()), ("label", pa.string()), ("time", pa.int64())])


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled set, as the training will see it."""

    by_label: Mapping[str, int]
    """Texts by label, each text once; those with contradicting labels are left out."""
    rows: int
    """Answers with feedback and text."""
    without_text: int
    """Answers with feedback whose text the log does not keep."""


def label_counts(log: Log, window: Window) -> dict[str, int]:
    """Answers of a window that have feedback and text, by what was said; a text asked twice counts twice."""
    found: Counter[str] = Counter()
    for batch in Join(log, window, ("text",)):
        found.update(batch.filter(pc.is_valid(batch["text"]))[TRUTH].to_pylist())
    return dict(found)


def write_labelled(
    log: Log, window: Window, labels: Sequence[str], folder: Path, *, max_texts: int
) -> Labelled:
    """Write `feedback.parquet`: text, label, time of the answer in microseconds.

    Args:
        log: Of the service.
        window: Of the predictions.
        labels: That the model has; what is said otherwise is left out.
        folder: Made if missing; a file of an earlier try is replaced.
        max_texts: The newest so many rows are kept.

    Raises:
        LogInvalid: The log cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    everything, counts = folder / f".{FILE}", Counter[str]()
    with parquet.ParquetWriter(everything, _COLUMNS, compression="zstd") as writer:
        for batch in _rows(log, window, labels, counts):
            writer.write_batch(batch)
    _keep_newest(everything, path, max_texts)
    everything.unlink()
    source = FileSettings(name="feedback", file=FILE)
    examples = read_examples(str(folder), source, labels) if counts["rows"] else []
    once = Counter(labels[examples[row].label] for row in one_of_each(keys_of(examples)))
    return Labelled(dict(once), counts["rows"], counts["without_text"])


def keep(path: Path, address: str) -> None:
    """Copy a file to where later retrainings find it, a path or an s3:// address.

    Raises:
        DataInvalid: It cannot be written there.
    """
    try:
        copy_to(path, address)
    except OSError as error:
        raise DataInvalid(
            f"the labelled texts cannot be kept at {address}: {error}; check --texts and its rights"
        ) from error


def _rows(log: Log, window: Window, labels: Sequence[str], counts: Counter[str]) -> Iterator[Any]:
    known = pa.array(labels)
    for batch in Join(log, window, ("text", "time")):
        has_text = pc.is_valid(batch["text"])
        counts["without_text"] += len(has_text) - pc.sum(has_text).as_py()
        kept = batch.filter(pc.and_(has_text, pc.is_in(batch[TRUTH], known)))
        kept = kept.filter(pc.not_equal(pc.utf8_trim_whitespace(kept["text"]), ""))
        counts["rows"] += kept.num_rows
        columns = [kept["text"], kept[TRUTH], kept["time"].cast(pa.int64())]
        yield pa.record_batch(columns, schema=_COLUMNS)


def _keep_newest(source: Path, target: Path, most: int) -> None:
    """Copy the rows whose time is among the newest `most`, a batch at a time."""
    times = parquet.read_table(source, columns=["time"])["time"].to_numpy()
    since = np.partition(times, -most)[-most] if len(times) > most else 0
    with (
        parquet.ParquetFile(source) as rows,
        parquet.ParquetWriter(target, _COLUMNS, compression="zstd") as writer,
    ):
        for batch in rows.iter_batches():
            writer.write_batch(batch.filter(pc.greater_equal(batch["time"], since)))
