"""Tests of the counts of a log window: equal to a plain count, in any order and batches, bounded memory."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.prediction_log.redaction import digest
from tests.unit.train.drift.builders import LABELS, batch, reference
from train.drift import window
from train.drift.detector import judge
from train.drift.thresholds import read_thresholds
from train.drift.window import count
from train.errors import DataError
from train.prediction_log.distinct import DistinctKeys
from train.profile import length_histogram, score_histogram

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def row(i: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "time": NOON + timedelta(seconds=i),
        "text": f"text {i}",
        "text_sha256": digest(f"text {i}"),
        "segment": None,
        "label": "POSITIVE",
        "score": 0.9,
        "tokens": 7,
        "unknown_tokens": 1,
    } | changes


rows_of_the_log = st.lists(
    st.builds(
        row,
        st.integers(0, 99),
        segment=st.sampled_from([None, "a", "b"]),
        label=st.sampled_from(LABELS),
        score=st.floats(0.5, 1, width=32),
        tokens=st.integers(2, 2_000),
        unknown_tokens=st.integers(0, 2),
    ),
    min_size=1,
    max_size=30,
)


@given(rows_of_the_log, st.integers(1, 30))
def test_every_text_is_counted_once(everything: list[dict[str, Any]], cut: int) -> None:
    found = count([batch(everything[i : i + cut]) for i in range(0, len(everything), cut)], LABELS)

    rows = list({one["text"]: one for one in reversed(everything)}.values())
    of_segment = list({(one["segment"], one["text"]): one for one in reversed(everything)}.values())
    assert (found.rows, found.repeated) == (len(rows), len(everything) - len(rows))
    of_label = Counter(one["label"] for one in rows)
    assert found.answers.tolist() == [of_label[label] for label in LABELS]
    assert found.lengths.tolist() == list(length_histogram(np.array([one["tokens"] for one in rows])).counts)
    assert found.top_scores.tolist() == list(
        score_histogram(np.array([one["score"] for one in rows], dtype=np.float64)).counts
    )
    assert found.tokens.tokens == sum(one["tokens"] for one in rows)
    assert found.tokens.product == sum(one["tokens"] * one["unknown_tokens"] for one in rows)
    named = Counter((one["segment"], one["label"]) for one in of_segment if one["segment"])
    assert {
        (name, label): n
        for name, counts in found.segments.items()
        for label, n in zip(LABELS, counts.tolist(), strict=True)
        if n
    } == dict(named)
    times = [one["time"] for one in everything]
    assert (found.begin, found.end) == (min(times), max(times))


@pytest.mark.parametrize("texts", [1, 20])
def test_a_load_test_of_few_texts_is_no_drift(texts: int) -> None:
    """The load test sends ten thousand requests with few distinct texts, which are unlike the reference."""
    usual = [
        row(
            i,
            label=LABELS[i % 2],
            tokens=(12, 17, 24)[i % 3],
            score=(0.86, 0.97)[i % 3 > 0],
            unknown_tokens=0,
        )
        for i in range(600)
    ]
    load = [
        row(1_000 + i % texts, label="NEGATIVE", tokens=400, score=0.52, unknown_tokens=0)
        for i in range(10_000)
    ]
    window = count([batch(usual), batch(load)], LABELS)

    report = judge(reference(), window, read_thresholds())

    assert (report.verdict, report.rows, report.repeated) == ("ok", 600 + texts, 10_000 - texts)


def test_distinct_keys_are_remembered_up_to_a_bound() -> None:
    seen = DistinctKeys(most=4)

    assert seen.add(np.array([7, 3, 7], dtype=np.uint64)).tolist() == [True, True, False]
    assert seen.add(np.array([3, 5, 9, 1, 2], dtype=np.uint64)).tolist() == [False, True, True, True, True]
    assert len(seen) == 4
    assert seen.add(np.array([3, 7], dtype=np.uint64)).tolist() == [False, False]


def test_texts_are_drawn_with_equal_chances_from_all_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "SAMPLE_TEXTS", 50)
    rows = [row(i, text=None if i % 2 else str(i)) for i in range(1_000)]
    batches = [batch(rows[i : i + 64]) for i in range(0, 1_000, 64)]

    drawn = [[int(text) for text in count(batches, LABELS, seed=seed).texts] for seed in range(40)]

    assert all(len(set(of_seed)) == 50 and not any(i % 2 for i in of_seed) for of_seed in drawn)
    # 40 draws of 50 of 500: half are from each half of the log; one standard deviation is 21.
    late = sum(i >= 500 for of_seed in drawn for i in of_seed)
    assert abs(late - 1_000) < 100
    assert count(batches, LABELS, seed=1).texts == count(batches, LABELS, seed=1).texts


def test_a_log_without_texts_gives_none() -> None:
    assert count([batch([row(text=None)])], LABELS).texts == ()


def test_no_more_segments_are_told_apart_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "SEGMENTS", 3)
    found = count([batch([row(i, segment=str(i % 5)) for i in range(j, 50, 2)]) for j in (0, 1)], LABELS)

    assert {name: counts.sum() for name, counts in found.segments.items()} == {"0": 10, "2": 10, "4": 10}
    assert found.rows == 50


def test_an_answer_of_another_version_is_refused() -> None:
    with pytest.raises(DataError, match="the label 'NEUTRAL', which the bundle does not have"):
        count([batch([row(), row(label="NEUTRAL")])], LABELS)


def test_no_rows_are_an_empty_window() -> None:
    assert count([], LABELS).rows == 0
