"""Tests of token tables on disk: written rows are read back in batches and in any order."""

from pathlib import Path

import numpy as np

from train.datasets.splits import SetKeys, SplitRows
from train.datasets.tokenized import TokenWriter, first_of_each_label, open_table, write_parts


def keys(labels: list[int]) -> SetKeys:
    numbers = np.arange(len(labels), dtype=np.uint64)
    return SetKeys(numbers, numbers, np.array(labels, dtype=np.int16))


def int32(values: list[int]) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(values, dtype=np.int32)


def test_texts_come_back_as_they_were_written(tmp_path: Path) -> None:
    writer = TokenWriter(tmp_path / "set")
    writer.add(int32([101, 7, 102, 101, 102]), int32([3, 2]), int32([1, 0]), keys([1, 0]))
    writer.add(int32([101, 8, 9, 102]), int32([4]), int32([2]), keys([1]))

    written = writer.finish()
    write_parts(tmp_path / "set", SplitRows(train=np.array([2, 0]), held_out=np.array([1])))
    table = open_table(tmp_path / "set")

    assert [table.ids(row) for row in range(3)] == [[101, 7, 102], [101, 102], [101, 8, 9, 102]]
    assert table.labels.tolist() == written.labels.tolist() == [1, 0, 1]
    assert table.words.tolist() == [1, 0, 2]
    assert table.parts.train.tolist() == [2, 0]
    assert table.parts.held_out.tolist() == [1]


def test_a_set_without_texts_can_be_opened(tmp_path: Path) -> None:
    writer = TokenWriter(tmp_path / "set")
    assert len(writer.finish().keys) == 0
    write_parts(tmp_path / "set", SplitRows(train=np.array([], dtype=int), held_out=np.array([], dtype=int)))

    assert len(open_table(tmp_path / "set").labels) == 0


def test_a_sample_takes_the_first_of_each_label(tmp_path: Path) -> None:
    labels = [0, 0, 1, 0, 1, 1]
    writer = TokenWriter(tmp_path / "set")
    writer.add(int32([5] * 6), int32([1] * 6), int32([1] * 6), keys(labels))
    writer.finish()
    write_parts(tmp_path / "set", SplitRows(train=np.array([0]), held_out=np.array([5, 3, 2, 1, 4])))
    table = open_table(tmp_path / "set")

    assert first_of_each_label(table, table.parts.held_out, 2) == [3, 1, 5, 2]
