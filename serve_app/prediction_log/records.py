"""Records of the prediction log and the layout of its files: the contract between replicas and readers.

    ROOT/predictions/date=2026-11-26/version=7/20261126T101500-1f0c….parquet
    ROOT/feedback/date=2026-11-26/20261126T101500-9b3e….parquet

A file appears completely or not at all, and its name is never reused. The date of a folder is the UTC date of
the records in its files.
"""

from __future__ import annotations

import hashlib
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from serve_app.interface import PredictionBatch
from serve_app.replica.user_config import Role

AUDIT = "audit"
"""Source of the feedback that labels the audit sample."""
SCHEMA_VERSION = "1"
PREDICTIONS = "predictions"
FEEDBACK = "feedback"

_RECORD_BYTES = 1000
"""Upper estimate of a record's memory without its texts: objects, scores, names."""
_TEXT_BYTES = 400


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """Request with its predictions: one row per text.

    Attributes:
        request_id: Id of the request, from its X-Request-ID.
        time_us: Time of the response in microseconds since 1970, UTC.
        texts: Texts as sent.
        segment: Segment of all texts, a segment per text, or None.
        answer: Predictions, one per text.
        latency_ms: Milliseconds from the request's arrival to its response.
        role: Role of the model that answered.
        audit_fraction: Fraction of requests marked for labelling, if this request is one of them.
    """

    request_id: str
    time_us: int
    texts: Sequence[str]
    segment: str | Sequence[str | None] | None
    answer: PredictionBatch
    latency_ms: float
    role: Role
    audit_fraction: float | None = None

    @property
    def rows(self) -> int:
        """Number of rows in the log."""
        return len(self.texts)

    def segment_of(self, index: int) -> str | None:
        """Return the segment of the text with that index."""
        segment = self.segment
        return segment if segment is None or isinstance(segment, str) else segment[index]

    @property
    def size_bytes(self) -> int:
        """Approximate size in memory."""
        return _RECORD_BYTES + sum(_TEXT_BYTES + sys.getsizeof(text) for text in self.texts)


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """Feedback: the true label of a text.

    Attributes:
        request_id: Id of the request with the text.
        index: Index of the text in the request, from 0.
        label: True label.
        time_us: Time of the feedback in microseconds since 1970, UTC.
        source: Origin of the feedback: "api", `AUDIT`, or the name of an imported file.
    """

    request_id: str
    index: int
    label: str
    time_us: int
    source: str

    @property
    def rows(self) -> int:
        """Number of rows in the log."""
        return 1

    @property
    def size_bytes(self) -> int:
        """Approximate size in memory."""
        return _RECORD_BYTES


def is_audited(request_id: str, fraction: float) -> bool:
    """Return whether a request is in the audit sample: by a hash of its id, the same on every replica."""
    digest = hashlib.sha256(f"audit\n{request_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def now_us() -> int:
    """Return the current time in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def date_of(time_us: int) -> str:
    """Return the UTC date of a record's folder, such as 2026-11-26."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).date().isoformat()


def predictions_folder(date: str, version: str) -> str:
    """Return the key of the folder with a day's predictions by one version."""
    return f"{PREDICTIONS}/date={date}/version={quote(version, safe='')}"


def feedback_folder(date: str) -> str:
    """Return the key of the folder with a day's feedback."""
    return f"{FEEDBACK}/date={date}"


def file_name(time_us: int) -> str:
    """Return a unique file name. Names sort by time."""
    stamp = datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y%m%dT%H%M%S")
    return f"{stamp}-{uuid.uuid4().hex}.parquet"
