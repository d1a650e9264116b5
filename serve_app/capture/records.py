"""What is captured, and where its files lie: the contract between the replicas and everything that reads.

    ROOT/predictions/date=2026-11-26/version=7/20261126T101500-1f0c….parquet
    ROOT/feedback/date=2026-11-26/20261126T101500-9b3e….parquet

A file appears whole or not at all, under a name that is never used again. Dates are those of the records in
it, UTC.
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

from serve_app.choice import Role
from serve_app.service import Classified

AUDIT = "audit"
"""Source of the feedback that labels the audit sample."""
SCHEMA_VERSION = "1"
PREDICTIONS = "predictions"
FEEDBACK = "feedback"

_RECORD_BYTES = 1000
"""What a record takes in memory beside its texts: objects, scores, names. Generous."""
_TEXT_BYTES = 400


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and its answer: a row for each of its texts.

    Attributes:
        request_id: as the caller knows it.
        time_us: when it was answered, microseconds since 1970, UTC.
        texts: as they were sent.
        segment: what they belong to, or None; one for all texts, or one a text.
        answer: one result a text.
        latency_ms: from the request's arrival to its answer.
        role: of the model that answered.
        audit_fraction: the share of requests that is marked for labelling, if this request is one of them.
    """

    request_id: str
    time_us: int
    texts: Sequence[str]
    segment: str | Sequence[str | None] | None
    answer: Classified
    latency_ms: float
    role: Role
    audit_fraction: float | None = None

    @property
    def rows(self) -> int:
        """Rows in the log."""
        return len(self.texts)

    def segment_of(self, index: int) -> str | None:
        """What the text with that index belongs to."""
        segment = self.segment
        return segment if segment is None or isinstance(segment, str) else segment[index]

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return _RECORD_BYTES + sum(_TEXT_BYTES + sys.getsizeof(text) for text in self.texts)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a text really was, as somebody says who knows.

    Attributes:
        request_id: of the answered request.
        index: of the text in it, from 0.
        label: the right one.
        time_us: when it was said, microseconds since 1970, UTC.
        source: who says so: "api", `AUDIT`, or the name of an imported file.
    """

    request_id: str
    index: int
    label: str
    time_us: int
    source: str

    @property
    def rows(self) -> int:
        """Rows in the log."""
        return 1

    @property
    def size_bytes(self) -> int:
        """About what it takes in memory."""
        return _RECORD_BYTES


def is_audited(request_id: str, fraction: float) -> bool:
    """Whether a request belongs to the audit sample: by a hash of its id, the same on every replica."""
    digest = hashlib.sha256(f"audit\n{request_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def now_us() -> int:
    """The time of the records: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def date_of(time_us: int) -> str:
    """The date of a record's folder, e.g. 2026-11-26, in UTC."""
    return datetime.fromtimestamp(time_us / 1e6, UTC).date().isoformat()


def predictions_folder(date: str, version: str) -> str:
    """Key of the folder with a day's predictions by one version."""
    return f"{PREDICTIONS}/date={date}/version={quote(version, safe='')}"


def feedback_folder(date: str) -> str:
    """Key of the folder with a day's feedback."""
    return f"{FEEDBACK}/date={date}"


def file_name(time_us: int) -> str:
    """A name that no other file has; names sort by time."""
    stamp = datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y%m%dT%H%M%S")
    return f"{stamp}-{uuid.uuid4().hex}.parquet"
