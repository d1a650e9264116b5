"""Export of logged texts with feedback as a labelled set, in memory that is independent of the log's size."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from train.datasets.files import copy_to
from train.datasets.reading import read_examples
from train.datasets.splits import keys_of, one_of_each
from train.errors import DataError
from train.prediction_log.distinct import DistinctKeys, distinct_texts
from train.prediction_log.join import AUDITED, TRUTH, Join, hashes
from train.prediction_log.reader import Log, Window
from train.settings import FileSettings

FILE, AUDIT_FILE = "feedback.parquet", "audit.parquet"
_COLUMNS = pa.schema([("text", pa.string()), ("label", pa.string()), ("time", pa.int64())])


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled set for the training."""

    by_label: Mapping[str, int]
    """Texts by label, each text once; those with contradicting labels are excluded."""
    rows: int
    """Number of predictions with feedback and text that are not in the audit sample."""
    without_text: int
    """Number of predictions with feedback whose text is not in the log."""
    audited: int
    """Number of predictions of the audit sample with text, which are used for evaluation and never for
    training."""
    complete: bool
    """Whether every text of the window has a label, so that feedback has no selection bias."""


def label_counts(log: Log, window: Window) -> dict[str, int]:
    """Return the trainable predictions of a window by true label; a repeated text counts each time.

    They have feedback and text, and are not in the audit sample.
    """
    counts: Counter[str] = Counter()
    for batch in Join(log, window, ("text",)):
        learned = pc.and_(pc.is_valid(batch["text"]), pc.invert(batch[AUDITED]))
        counts.update(batch.filter(learned)[TRUTH].to_pylist())
    return dict(counts)


def write_labelled(
    log: Log, window: Window, labels: Sequence[str], folder: Path, *, max_texts: int
) -> Labelled:
    """Write `feedback.parquet`, and `audit.parquet` if there is an audit sample.

    The columns are text, label, and the time of the prediction in microseconds.

    Args:
        log: Prediction log of the service.
        window: Window of the predictions.
        labels: Labels of the model; feedback with other labels is excluded.
        folder: Output folder, created if missing; files of an earlier attempt are replaced.
        max_texts: Maximum number of rows; the newest ones are kept.

    Raises:
        LogError: The log cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    everything, counts, labelled = folder / f".{FILE}", Counter[str](), DistinctKeys()
    with (
        parquet.ParquetWriter(everything, _COLUMNS, compression="zstd") as writer,
        parquet.ParquetWriter(folder / AUDIT_FILE, _COLUMNS, compression="zstd") as audit,
    ):
        for batch, audited in _rows(log, window, labels, counts, labelled):
            writer.write_batch(batch.filter(pc.invert(audited)))
            audit.write_batch(batch.filter(audited))
    _keep_newest(everything, path, max_texts)
    everything.unlink()
    if not counts["audited"]:
        (folder / AUDIT_FILE).unlink()
    source = FileSettings(name="feedback", file=FILE)
    examples = read_examples(str(folder), source, labels) if counts["rows"] else []
    once = Counter(labels[examples[row].label] for row in one_of_each(keys_of(examples)))
    return Labelled(
        dict(once),
        counts["rows"],
        counts["without_text"],
        audited=counts["audited"],
        complete=len(labelled) == distinct_texts(log, window),
    )


def keep(path: Path, address: str) -> None:
    """Copy a file to a path or s3:// URI where later retrainings read it.

    Raises:
        DataError: The file cannot be written there.
    """
    try:
        copy_to(path, address)
    except OSError as error:
        raise DataError(
            f"the labelled texts cannot be written to {address}: {error}; check --texts and its permissions"
        ) from error


def _rows(
    log: Log, window: Window, labels: Sequence[str], counts: Counter[str], labelled: DistinctKeys
) -> Iterator[tuple[Any, Any]]:
    """Yield rows for training or evaluation, with a mask of those in the audit sample."""
    known = pa.array(labels)
    for batch in Join(log, window, ("text", "text_sha256", "time")):
        labelled.add(hashes(batch["text_sha256"]))
        has_text = pc.is_valid(batch["text"])
        counts["without_text"] += len(has_text) - pc.sum(has_text).as_py()
        kept = batch.filter(pc.and_(has_text, pc.is_in(batch[TRUTH], known)))
        kept = kept.filter(pc.not_equal(pc.utf8_trim_whitespace(kept["text"]), ""))
        counts["audited"] += pc.sum(kept[AUDITED]).as_py() or 0
        counts["rows"] += pc.sum(pc.invert(kept[AUDITED])).as_py() or 0
        columns = [kept["text"], kept[TRUTH], kept["time"].cast(pa.int64())]
        yield pa.record_batch(columns, schema=_COLUMNS), kept[AUDITED]


def _keep_newest(source: Path, target: Path, max_rows: int) -> None:
    """Copy the rows whose time is among the newest `max_rows`, batch by batch."""
    times = parquet.read_table(source, columns=["time"])["time"].to_numpy()
    since = np.partition(times, -max_rows)[-max_rows] if len(times) > max_rows else 0
    with (
        parquet.ParquetFile(source) as rows,
        parquet.ParquetWriter(target, _COLUMNS, compression="zstd") as writer,
    ):
        for batch in rows.iter_batches():
            writer.write_batch(batch.filter(pc.greater_equal(batch["time"], since)))
