"""The audit sample: the marked rows of the log that nobody has labelled yet, as a file to be labelled.

The marks are drawn at random by request (`serve_app.capture.records.is_audited`), so the labels say how often
the answers are right whoever else gives feedback. That holds as far as every exported row is labelled: who
leaves out what is hard to label makes another sample of it.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from serve_app.capture.records import AUDIT
from train.captured.joining import keys
from train.captured.reading import Log, Window
from train.errors import DataInvalid

COLUMNS = ("request_id", "index", "text", "label")
_READ = ("request_id", "index", "text", "audit_fraction")


@dataclass(frozen=True, slots=True)
class AuditSample:
    """What was exported; texts.

    Attributes:
        rows: marked, in the window, to be labelled.
        labelled: marked and labelled already, not exported again.
        without_text: marked, of which the log keeps no text: nobody can label them.
    """

    rows: int
    labelled: int
    without_text: int


def export_sample(
    log: Log, window: Window, path: Path, *, tell: Callable[[int], None] = lambda _: None
) -> AuditSample:
    """Write the marked rows of a window to a CSV file with an empty column `label`.

    The model's answer is not in the file: a label given in sight of it agrees with it too often.

    Args:
        log: Of the service.
        window: Of the predictions.
        path: Replaced if it exists; `python -m train feedback import --audit` reads it once it is labelled.
        tell: Told how many rows are written so far.

    Raises:
        LogInvalid: The log cannot be read.
        DataInvalid: The file cannot be written.
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
                tell(rows)
    except OSError as error:
        raise DataInvalid(f"{path} cannot be written: {error.strerror}; choose another --out") from error
    return AuditSample(rows, skipped, without_text)


def _audits(feedback: pa.RecordBatch) -> pa.RecordBatch:
    return feedback.filter(pc.equal(feedback["source"], AUDIT))
