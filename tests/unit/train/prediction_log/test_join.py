"""Tests of the join of feedback and predictions, for any order, repetitions and contradictions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.train.prediction_log.logs import NOON, answered, at, truth, write
from train.prediction_log import join
from train.prediction_log.join import Join, JoinCounts
from train.prediction_log.reader import Log, Window

MINUTE = timedelta(minutes=1)
ALL = Window()
COLUMNS = ("request_id", "index", "text", "label", "scores")


def joined(root: Path, window: Window = ALL) -> tuple[list[dict[str, Any]], JoinCounts]:
    join = Join(Log(str(root)), window, COLUMNS)
    rows = [row for batch in join for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: (row["request_id"], row["index"])), join.counts


def test_feedback_meets_its_text(tmp_path: Path) -> None:
    write(tmp_path, [answered("a", "one", "two"), answered("b", "three")])
    write(tmp_path, truths=[truth("a", "NEGATIVE", index=1), truth("b", "POSITIVE")])

    rows, counts = joined(tmp_path)

    assert [(row["text"], row["truth"], row["label"]) for row in rows] == [
        ("two", "NEGATIVE", "POSITIVE"),
        ("three", "POSITIVE", "POSITIVE"),
    ]
    assert rows[0]["scores"] == pytest.approx([0.1, 0.2, 0.7])
    assert rows[0]["truth_time"].timestamp() * 1e6 == at(60)
    assert counts == JoinCounts(feedback=2, joined=2)


def test_said_again_counts_once_and_the_last_word_stands(tmp_path: Path) -> None:
    write(tmp_path, [answered("a", "one"), answered("b", "two"), answered("c", "three")])
    write(tmp_path, truths=[truth("a", "NEGATIVE"), truth("a", "NEGATIVE", seconds=70)])
    write(tmp_path, truths=[truth("b", "NEGATIVE", seconds=80), truth("b", "POSITIVE", seconds=70)])
    write(tmp_path, truths=[truth("c", "NEGATIVE", seconds=90), truth("c", "POSITIVE", seconds=90)])

    rows, counts = joined(tmp_path)

    assert [(row["request_id"], row["truth"]) for row in rows] == [("a", "NEGATIVE"), ("b", "NEGATIVE")]
    assert counts == JoinCounts(feedback=6, joined=2, duplicate=1, contradicting=2, undecided=1)


def test_late_feedback_counts_and_unknown_is_told(tmp_path: Path) -> None:
    write(tmp_path, [answered("a", "one"), answered("old", "two", seconds=-3600)])
    days_later = truth("a", "NEGATIVE", seconds=3 * 86_400)
    write(tmp_path, truths=[days_later, truth("old", "POSITIVE"), truth("nobody", "POSITIVE")])

    rows, counts = joined(tmp_path, Window(since=NOON - MINUTE, until=NOON + MINUTE))

    assert [row["request_id"] for row in rows] == ["a"]
    assert counts == JoinCounts(feedback=3, joined=1, late=1, unknown=2)


def test_an_id_that_was_used_for_two_texts_says_nothing_of_either(tmp_path: Path) -> None:
    write(tmp_path, [answered("a", "one"), answered("a", "other", seconds=1)])
    write(tmp_path, [answered("b", "same"), answered("b", "same", seconds=1)])
    write(tmp_path, truths=[truth("a", "NEGATIVE"), truth("b", "NEGATIVE")])

    rows, counts = joined(tmp_path)

    assert [row["text"] for row in rows] == ["same"]
    assert counts == JoinCounts(feedback=2, joined=1, ambiguous=1)


IDS = st.sampled_from([f"id-{number}" for number in range(6)])
SAID = st.tuples(IDS, st.integers(0, 1), st.sampled_from(["NEGATIVE", "POSITIVE"]), st.integers(0, 3))


@settings(max_examples=40)
@given(asked=st.lists(st.tuples(IDS, st.integers(1, 2)), max_size=12), said=st.lists(SAID, max_size=20))
def test_any_log_joins_as_a_dictionary_would(
    asked: list[tuple[str, int]], said: list[tuple[str, int, str, int]]
) -> None:
    with TemporaryDirectory() as folder, patch.object(join, "_PART_BYTES", 1500):
        root = Path(folder)
        for place, (request_id, texts) in enumerate(asked):
            write(root, [answered(request_id, *[f"{request_id} {i}" for i in range(texts)], seconds=place)])
        truths = [truth(name, label, index=index, seconds=when) for name, index, label, when in said]
        for begin in range(0, len(truths), 7):
            write(root, truths=truths[begin : begin + 7])

        rows, counts = joined(root)

    texts_of = {(name, i): f"{name} {i}" for name, texts in asked for i in range(texts)}
    last: dict[tuple[str, int], tuple[int, set[str]]] = {}
    for name, index, label, when in said:
        latest, labels = last.get((name, index), (-1, set()))
        if when >= latest:
            last[name, index] = (when, labels | {label} if when == latest else {label})
    expected = [
        (name, index, texts_of[name, index], labels)
        for (name, index), (_, labels) in sorted(last.items())
        if (name, index) in texts_of and len(labels) == 1
    ]
    got = [(row["request_id"], row["index"], row["text"], {row["truth"]}) for row in rows]
    assert got == expected
    assert counts.feedback == len(said) and counts.joined == len(expected) and counts.ambiguous == 0
    assert counts.unknown == len(set(last) - set(texts_of))
    assert counts.undecided == sum(len(labels) > 1 for _, labels in last.values())
    assert counts.duplicate == len(said) - len({one[:3] for one in said})
