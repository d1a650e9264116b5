"""Tokenised texts on disk, read through a memory map, so that a set may be larger than memory.

SET/tokens.bin    int32, little-endian: concatenated token ids of the texts, [CLS] and [SEP] included
SET/offsets.npy   int64 (texts + 1): offset of each text
SET/labels.npy    int16 (texts)
SET/words.npy     int32 (texts): number of words with a letter or a digit
SET/teacher.npy   float16 (texts, labels): a teacher's scores; (texts, 0) without a teacher
SET/train.npy     int64: rows to train on;  SET/held_out.npy: rows held out
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from train.datasets.splits import Hashes, Rows, SetKeys, SplitRows

_TOKENS = "tokens.bin"
_TOKEN = np.dtype("<i4")

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Tokenised set with its two parts."""

    tokens: Int32s
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int16]
    words: Int32s
    teacher: npt.NDArray[np.float16]
    parts: SplitRows

    def ids(self, row: int) -> list[int]:
        """Return the token ids of one text."""
        ids: list[int] = self.tokens[self.offsets[row] : self.offsets[row + 1]].tolist()
        return ids


@dataclass(slots=True)
class TokenWriter:
    """Writer of one set, in batches of texts in any order; it keeps 32 bytes per text in memory."""

    folder: Path
    _file: BinaryIO = field(init=False)
    _lengths: list[Int32s] = field(default_factory=list)
    _words: list[Int32s] = field(default_factory=list)
    _labels: list[npt.NDArray[np.int16]] = field(default_factory=list)
    _teacher: list[npt.NDArray[np.float16]] = field(default_factory=list)
    _keys: list[Hashes] = field(default_factory=list)
    _exact: list[Hashes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self._file = (self.folder / _TOKENS).open("wb")

    def add(
        self,
        tokens: Int32s,
        lengths: Int32s,
        words: Int32s,
        keys: SetKeys,
        teacher: npt.NDArray[np.float16] | None = None,
    ) -> None:
        """Add texts: their concatenated tokens, and the properties of each."""
        self._teacher.append(np.empty((len(lengths), 0), np.float16) if teacher is None else teacher)
        self._file.write(tokens.astype(_TOKEN, copy=False).tobytes())
        self._lengths.append(lengths)
        self._words.append(words)
        self._labels.append(keys.labels)
        self._keys.append(keys.keys)
        self._exact.append(keys.exact)

    def finish(self) -> SetKeys:
        """Write all files except the parts."""
        self._file.close()
        lengths = _joined(self._lengths, np.int32)
        labels = _joined(self._labels, np.int16)
        np.save(self.folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
        np.save(self.folder / "labels.npy", labels)
        np.save(self.folder / "words.npy", _joined(self._words, np.int32))
        teacher = np.concatenate(self._teacher) if self._teacher else np.empty((0, 0), np.float16)
        np.save(self.folder / "teacher.npy", teacher)
        return SetKeys(_joined(self._keys, np.uint64), _joined(self._exact, np.uint64), labels)


def write_parts(folder: Path, parts: SplitRows) -> None:
    """Write a set's two parts next to its tokens."""
    np.save(folder / "train.npy", parts.train)
    np.save(folder / "held_out.npy", parts.held_out)


def open_table(folder: Path) -> TokenTable:
    """Open a set that a `TokenWriter` and `write_parts` wrote; its tokens stay on disk."""

    def load(name: str) -> npt.NDArray[np.int64]:
        array: npt.NDArray[np.int64] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array

    path = folder / _TOKENS
    # An empty file cannot be mapped.
    tokens = np.memmap(path, dtype=_TOKEN, mode="r") if path.stat().st_size else np.empty(0, dtype=_TOKEN)
    return TokenTable(
        tokens=tokens,
        offsets=load("offsets"),
        labels=load("labels").astype(np.int16, copy=False),
        words=load("words").astype(np.int32, copy=False),
        teacher=load("teacher").astype(np.float16, copy=False),
        parts=SplitRows(train=load("train"), held_out=load("held_out")),
    )


def first_of_each_label(table: TokenTable, rows: Rows, count: int) -> list[int]:
    """Return the first `count` rows of each label, in their order, so that the choice is deterministic."""
    labels = table.labels[rows]
    chosen = [rows[labels == label][:count] for label in np.unique(labels)]
    return [int(row) for of_label in chosen for row in of_label]


def _joined(arrays: Sequence[npt.NDArray[np.generic]], dtype: type[np.generic]) -> npt.NDArray:  # type: ignore[type-arg]
    return np.concatenate([np.empty(0, dtype=dtype), *arrays])
