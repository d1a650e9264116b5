"""Join of feedback and predictions by (request_id, index), in memory that is independent of the log's size.

This is a partitioned hash join: the rows of both sides are written to files on the local disk by a hash of
the request id, so that matching rows are in the same partition; then the partitions are joined in memory, one
after another.

Feedback can be late, repeated or contradictory:

    late           more than `late_s` after the prediction: counts, without an upper limit
    duplicate      same text with the same label: counts once
    contradicting  same text with another label: the last label counts; none if two labels have the same time
    unknown        no such prediction in the window: not logged, or of another time or version
    ambiguous      two texts have the same request id and index: ignored, because it could belong to either
"""

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from serve_app.prediction_log.records import AUDIT, FEEDBACK, PREDICTIONS
from train.prediction_log.reader import Log, Window

TRUTH, TRUTH_TIME, AUDITED = "truth", "truth_time", "audited"
"""Columns that the join adds: the label from feedback, its time, and whether it labels the audit sample. A
label of the audit sample, which was drawn at random, takes precedence over other feedback."""
LATE_S = 86_400.0

_PART_BYTES = 16 << 20
"""Bytes of the log's files per partition: about 200,000 rows, which need about 100 MB while they are
joined."""
_MOST_PARTS = 512
_BATCH_ROWS = 65_536
_NEEDED = ("request_id", "index", "time", "text_sha256", "audit_fraction")


@dataclass(slots=True)
class JoinCounts:
    """Results of the join: numbers of texts, except `feedback` and `duplicate`, which count rows."""

    feedback: int = 0
    joined: int = 0
    late: int = 0
    duplicate: int = 0
    contradicting: int = 0
    undecided: int = 0
    """Number of contradicting texts that have two labels with the same time."""
    unknown: int = 0
    ambiguous: int = 0


class Join:
    """Predictions of a window that have feedback, joined with it.

    Iterate it once. It yields batches with `columns`, `truth`, `truth_time` and `audited`, in no order. After
    that, `counts` is complete.

    Args:
        log: log of the predictions and the feedback.
        window: window of the predictions; feedback is read from its start, without an end.
        columns: columns of the predictions.
        late_s: delay in seconds from which feedback counts as late.
        scratch: folder for the partitions, which need about as much disk space as the columns that are read;
            by default the system's temporary folder.
    """

    def __init__(
        self,
        log: Log,
        window: Window,
        columns: Sequence[str],
        *,
        late_s: float = LATE_S,
        scratch: Path | None = None,
    ) -> None:
        self._log, self._window, self._columns = log, window, tuple(columns)
        self._late_us, self._scratch = int(late_s * 1e6), scratch
        self.counts = JoinCounts()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        said = replace(self._window, until=Window().until, version=None)
        files = self._log.files(PREDICTIONS, self._window) + self._log.files(FEEDBACK, said)
        parts = min(_MOST_PARTS, max(1, math.ceil(sum(file.size_bytes for file in files) / _PART_BYTES)))
        needed = list(dict.fromkeys([*_NEEDED, *self._columns]))
        with tempfile.TemporaryDirectory(prefix="join-", dir=self._scratch) as folder:
            feedback = Path(folder) / FEEDBACK
            predictions = Path(folder) / PREDICTIONS
            _deal(self._log.feedback(said), feedback, parts)
            _deal(self._log.predictions(self._window, needed), predictions, parts)
            for part in range(parts):
                joined = self._join(_part(predictions, part), _part(feedback, part))
                if joined is not None:
                    yield from joined.to_batches(max_chunksize=_BATCH_ROWS)

    def _join(self, predictions: pa.Table | None, feedback: pa.Table | None) -> pa.Table | None:
        """Join one partition; return None if it has no feedback that matches."""
        if feedback is None:
            return None
        keys = pc.unique(feedback["key"])
        truths = self._decide(feedback)
        if predictions is None:
            self.counts.unknown += len(keys)
            return None
        self.counts.unknown += len(keys) - pc.sum(pc.is_in(keys, pc.unique(predictions["key"]))).as_py()
        found = predictions.filter(pc.is_in(predictions["key"], truths["key"].combine_chunks()))
        found = self._one_each(found)
        if not found.num_rows:
            return None
        place = pc.index_in(found["key"], truths["key"].combine_chunks())
        said_at = truths["time"].take(place)
        delay_us = pc.subtract(said_at.cast(pa.int64()), found["time"].cast(pa.int64()))
        self.counts.joined += found.num_rows
        self.counts.late += pc.sum(pc.greater(delay_us, self._late_us)).as_py()
        marked = pc.and_(truths["audit"].take(place), pc.is_valid(found["audit_fraction"]))
        joined = found.select(list(self._columns))
        joined = joined.append_column(TRUTH, truths["label"].take(place)).append_column(TRUTH_TIME, said_at)
        return joined.append_column(AUDITED, marked)

    def _decide(self, feedback: pa.Table) -> pa.Table:
        """Return one row (key, label, time, audit) for each text with a decided label."""
        of_key = feedback.group_by("key").aggregate([("label", "count"), ("label", "count_distinct")])
        said, labels = of_key["label_count"], of_key["label_count_distinct"]
        self.counts.feedback += feedback.num_rows
        self.counts.duplicate += pc.sum(said).as_py() - pc.sum(labels).as_py()
        self.counts.contradicting += pc.sum(pc.greater(labels, 1)).as_py()
        is_audit = pc.equal(feedback["source"], AUDIT)
        audited = pc.unique(feedback["key"].filter(is_audit))
        feedback = feedback.filter(pc.or_(is_audit, pc.invert(pc.is_in(feedback["key"], audited))))
        newest = feedback.group_by("key").aggregate([("time", "max")])
        latest = newest["time_max"].take(pc.index_in(feedback["key"], newest["key"].combine_chunks()))
        last = (
            feedback.filter(pc.equal(feedback["time"], latest))
            .group_by("key")
            .aggregate([("label", "min"), ("label", "count_distinct"), ("time", "max")])
        )
        decided = last.filter(pc.equal(last["label_count_distinct"], 1))
        self.counts.undecided += last.num_rows - decided.num_rows
        decided = decided.select(["key", "label_min", "time_max"]).rename_columns(["key", "label", "time"])
        return decided.append_column("audit", pc.is_in(decided["key"], audited))

    def _one_each(self, predictions: pa.Table) -> pa.Table:
        """Return one row per key: the first one if all have the same text, none if the texts differ."""
        rows = predictions.append_column("row", pa.array(np.arange(predictions.num_rows)))
        of_key = rows.group_by("key").aggregate([("row", "min"), ("text_sha256", "count_distinct")])
        clear = of_key.filter(pc.equal(of_key["text_sha256_count_distinct"], 1))
        self.counts.ambiguous += of_key.num_rows - clear.num_rows
        return predictions.take(clear["row_min"])


def _deal(batches: Iterable[pa.RecordBatch], folder: Path, parts: int) -> None:
    """Write each row, with its key, to the partition of its request id."""
    folder.mkdir()
    options = ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for batch in batches:
            keyed = batch.append_column("key", keys(batch))
            part_of = hashes(batch["request_id"]) % parts
            order = np.argsort(part_of, kind="stable")
            dealt, edges = keyed.take(pa.array(order)), np.searchsorted(part_of[order], np.arange(parts + 1))
            for part in np.flatnonzero(np.diff(edges)).tolist():
                if part not in writers:
                    path = str(folder / str(part))
                    writers[part] = stack.enter_context(ipc.new_stream(path, keyed.schema, options=options))
                writers[part].write_batch(dealt.slice(edges[part], edges[part + 1] - edges[part]))


def _part(folder: Path, part: int) -> pa.Table | None:
    path = folder / str(part)
    if not path.exists():
        return None
    with ipc.open_stream(str(path)) as stream:
        table = stream.read_all()
    path.unlink()
    return table


def keys(batch: pa.RecordBatch) -> pa.Array:
    """Return (request_id, index) as one string per row."""
    return pc.binary_join_element_wise(batch["request_id"], batch["index"].cast(pa.string()), "\n")


def hashes(strings: pa.Array) -> Any:
    """Return uint64 (rows,): a hash that is the same for the same string in every run."""
    from pandas.util import hash_array

    return hash_array(strings.to_numpy(zero_copy_only=False), categorize=False)
