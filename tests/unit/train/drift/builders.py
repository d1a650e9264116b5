"""Builders for the drift tests: a reference, and windows of synthetic counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from train.drift.reference import DriftReference
from train.drift.statistics import TokenSums
from train.drift.window import WindowStatistics
from train.prediction_log.label_accuracy import AuditSums, FeedbackCounts
from train.profile import LENGTH_EDGES, SCORE_BINS, EmbeddingSample, Histogram, ReferenceProfile

LABELS = ("NEGATIVE", "POSITIVE")
_LENGTHS, _SCORES = len(LENGTH_EDGES) - 1, SCORE_BINS


def histogram(at: Mapping[int, int], bins: int) -> np.ndarray:
    """Return a histogram with counts at some bins and 0 elsewhere."""
    counts = np.zeros(bins, dtype=np.int64)
    for place, count in at.items():
        counts[place] = count
    return counts


def reference(*, texts: int = 1_000, right: int = 900, judged: int = 1_000) -> DriftReference:
    """Return a reference: half NEGATIVE, lengths around bin 5, two thirds of scores in the highest bin."""
    third = texts // 3
    lengths = histogram({4: third, 5: third, 6: texts - 2 * third}, _LENGTHS)
    scores = histogram({17: third, 19: texts - third}, _SCORES)
    halves = dict.fromkeys(LABELS, 0.5)
    profile = ReferenceProfile(
        labels=LABELS,
        texts=texts,
        token_lengths=Histogram(edges=LENGTH_EDGES, counts=tuple(lengths.tolist())),
        unknown_token=1,
        unknown_token_rate=0.01,
        true_shares=halves,
        predicted_shares=halves,
        top_scores=Histogram(
            edges=tuple(i / SCORE_BINS for i in range(SCORE_BINS + 1)), counts=tuple(scores.tolist())
        ),
        mean_scores=halves,
        embeddings=EmbeddingSample(texts=2, size=3),
    )
    return DriftReference("made", "1", profile, np.zeros((2, 3), dtype=np.float16), right, judged)


def traffic(
    rows: int = 600,
    *,
    negative: int | None = None,
    lengths: Mapping[int, int] | None = None,
    scores: Mapping[int, int] | None = None,
    unknown: int | None = None,
    segments: Mapping[str, Sequence[int]] | None = None,
    right: int = 0,
    judged: int = 0,
    audit: tuple[int, int] = (0, 0),
) -> WindowStatistics:
    """Return a window that equals the reference except for the arguments; every text has ten tokens."""
    third = rows // 3
    bad = rows // 2 if negative is None else negative
    many = rows // 10 if unknown is None else unknown
    return WindowStatistics(
        labels=LABELS,
        answers=np.array([bad, rows - bad]),
        lengths=histogram(lengths or {4: third, 5: third, 6: rows - 2 * third}, _LENGTHS),
        top_scores=histogram(scores or {17: third, 19: rows - third}, _SCORES),
        tokens=TokenSums(rows, 10 * rows, many, 100 * rows, many, 10 * many),
        segments={name: np.array(counts) for name, counts in (segments or {}).items()},
        feedback=FeedbackCounts(right, judged, audited(*audit)),
    )


def audited(right: int, judged: int) -> AuditSums:
    """Return an audit sample of a tenth of the requests, with one text per request."""
    return AuditSums(
        judged, judged, 10.0 * judged, 10.0 * right, 100.0 * judged, 100.0 * right, 100.0 * right
    )


def batch(rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    """Return rows of the log with the columns that are counted."""
    schema = pa.schema(
        [
            ("time", pa.timestamp("us", tz="UTC")),
            ("text", pa.string()),
            ("text_sha256", pa.string()),
            ("segment", pa.string()),
            ("label", pa.string()),
            ("score", pa.float32()),
            ("tokens", pa.int32()),
            ("unknown_tokens", pa.int32()),
        ]
    )
    return pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=schema)
