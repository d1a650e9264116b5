"""Tests of the label counts of a window: each text once, the audit sample with its weights and requests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from train.prediction_log.label_accuracy import AuditSums, FeedbackCounts, count_feedback


def joined(
    request: list[int], agrees: list[bool], fraction: list[float | None], text: list[int]
) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "request_id": [str(one) for one in request],
            "text_sha256": [str(one) for one in text],
            "label": ["A"] * len(agrees),
            "truth": ["A" if one else "B" for one in agrees],
            "audited": [one is not None for one in fraction],
            "audit_fraction": pa.array(fraction, pa.float64()),
        }
    )


def test_each_text_counts_once() -> None:
    batch = joined([0, 1, 2, 3], [True, True, False, True], [None, None, 0.5, 0.5], [0, 0, 1, 1])
    found = count_feedback([batch, batch])

    assert (found.right, found.judged) == (1, 2)
    assert (found.audit.texts, found.audit.requests, found.audit.w, found.audit.y) == (1, 1, 2.0, 0.0)
    assert found.bounds(10) == (1, 9)
    assert count_feedback([]) == FeedbackCounts()


def test_labels_weigh_as_much_as_the_answers_that_they_stand_for() -> None:
    """A tenth of 1,000 requests was labelled at 90 % accuracy, and all of 100 requests at 50 % accuracy."""
    fraction = [0.1] * 100 + [1.0] * 100
    agrees = [i % 10 > 0 for i in range(100)] + [i % 2 > 0 for i in range(100)]
    found = count_feedback([joined(list(range(200)), agrees, list(fraction), list(range(200)))]).audit

    assert found.accuracy == pytest.approx((900 + 50) / 1_100)
    assert found.effective_texts < 175


def test_texts_of_one_request_are_one_observation() -> None:
    """Requests of 20 texts that are all right or all wrong are a sample of 50 requests, not 1,000 texts."""
    rng = np.random.default_rng(0)
    right = rng.random(50) < 0.8
    batch = joined(
        np.repeat(range(50), 20).tolist(), np.repeat(right, 20).tolist(), [0.1] * 1_000, list(range(1_000))
    )
    found = count_feedback([batch.slice(0, 600), batch.slice(600)]).audit

    assert (found.texts, found.requests) == (1_000, 50)
    assert 45 <= found.effective_texts <= 50
    alone = AuditSums(50, 50, 50, 40, 50, 40, 40)
    assert alone.counts == (40, 50)
