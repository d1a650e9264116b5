"""Export of the audit sample: the marked rows of the log without a label, as a file for labelling.

Requests are marked at random (`serve_app.prediction_log.records.is_audited`), so the labels estimate the
accuracy without the selection bias of other feedback. This holds only if every exported row is labelled: a
sample without the rows that are hard to label is biased.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from serve_app.prediction_log.records import AUDIT
from train.errors import DataError
from train.prediction_log.join import keys
from train.prediction_log.reader import Log, Window

COLUMNS = ("request_id", "index", "text", "label")
_READ = ("request_id", "index", "text", "audit_fraction")


@dataclass(frozen=True, slots=True)
class AuditSample:
    """Numbers of texts of an export.

    Attributes:
        rows: marked texts in the window that were exported for labelling.
        labelled: marked texts that have a label already and were not exported again.
        without_text: marked texts that the log does not store, so that they cannot be labelled.
    """

    rows: int
    labelled: int
    without_text: int


def export_sample(
    log: Log, window: Window, path: Path, *, on_progress: Callable[[int], None] = lambda _: None
) -> AuditSample:
    """Write the marked rows of a window to a CSV file with an empty column `label`.

    The file does not contain the model's prediction: a person who sees it agrees with it too often.

    Args:
        log: prediction log of the service.
        window: window of the predictions.
        path: output file, replaced if it exists; `python -m train feedback import --audit` reads the labelled
            file.
        on_progress: callback that receives the number of rows written so far.

    Raises:
        LogError: The log cannot be read.
        DataError: The file cannot be written.
    """
    said = Window(window.since)
    done = [keys(_audits(batch)) for batch in log.feedback(said)]
    labelled = pa.concat_arrays(done) if done else pa.array([], pa.string())
    rows = skipped = without_text = 0
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for batch in log.predictions(window, _READ):
                marked = batch.filter(pc.is_valid(batch["audit_fraction"]))
                waiting = marked.filter(pc.invert(pc.is_in(keys(marked), labelled)))
                skipped += marked.num_rows - waiting.num_rows
                with_text = waiting.filter(pc.is_valid(waiting["text"]))
                without_text += waiting.num_rows - with_text.num_rows
                for row in with_text.to_pylist():
                    writer.writerow([row["request_id"], row["index"], row["text"], ""])
                rows += with_text.num_rows
                on_progress(rows)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}; choose another --out") from error
    return AuditSample(rows, skipped, without_text)


def _audits(feedback: pa.RecordBatch) -> pa.RecordBatch:
    return feedback.filter(pc.equal(feedback["source"], AUDIT))
