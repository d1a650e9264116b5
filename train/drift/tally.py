"""From rows of the prediction log to a window's traffic: one pass, in bounded memory."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from train.captured.joining import hashes
from train.drift.distinct import DistinctKeys, Keys
from train.drift.rates import TokenSums
from train.drift.shift import Counts
from train.drift.traffic import Traffic
from train.errors import DataInvalid
from train.profile import LENGTH_EDGES, SAMPLE_TEXTS, SCORE_BINS, length_histogram, score_histogram

COLUMNS = ("time", "text", "text_sha256", "segment", "label", "score", "tokens", "unknown_tokens")
"""Of the prediction log, what a window's traffic is counted from."""

SEGMENTS = 10_000
"""Told apart; what comes after so many is counted in `OTHER`, and never judged."""
OTHER = ""


def count(batches: Iterable[Any], labels: tuple[str, ...], *, seed: int = 0) -> Traffic:
    """Count rows: each text once, and in each segment once, however often it was asked.

    A text that is repeated, by a load test or because it is popular, is one observation of the traffic and
    not many: rows that depend on each other would make any test of their shares invalid.

    Args:
        batches: Arrow record batches with `COLUMNS`.
        labels: Of the version, in the order of the logits.
        seed: Of the choice of texts.

    Raises:
        DataInvalid: A row was answered with another label: it is another version's.
    """
    tally = _Tally(labels, seed)
    for batch in batches:
        if batch.num_rows:
            tally.add(batch)
    return tally.traffic()


def agreement(batches: Iterable[Any]) -> tuple[int, int]:
    """How many answers agree with their feedback, and of how many.

    Args:
        batches: Arrow record batches with `label` and `truth`, as `train.captured.joining.Join` gives them.
    """
    right = judged = 0
    for batch in batches:
        judged += batch.num_rows
        right += int(pc.sum(pc.equal(batch["label"], batch["truth"])).as_py())
    return right, judged


class _Tally:
    def __init__(self, labels: tuple[str, ...], seed: int) -> None:
        self._labels = labels
        self._answers = np.zeros(len(labels), dtype=np.int64)
        self._lengths = np.zeros(len(LENGTH_EDGES) - 1, dtype=np.int64)
        self._scores = np.zeros(SCORE_BINS, dtype=np.int64)
        self._tokens = TokenSums()
        self._segments: dict[str, Counts] = {}
        self._seen, self._seen_in_segment = DistinctKeys(), DistinctKeys()
        self._repeated = 0
        self._texts = _Draw(SAMPLE_TEXTS, seed)
        self._begin: datetime | None = None
        self._end: datetime | None = None

    def add(self, batch: Any) -> None:
        first, last = pc.min_max(batch["time"]).as_py().values()
        self._begin = min(self._begin or first, first)
        self._end = max(self._end or last, last)
        keys = hashes(batch["text_sha256"])
        self._count_segments(batch["segment"], keys, self._indices(batch["label"]))
        new = self._seen.add(keys)
        self._repeated += int((~new).sum())
        self._add_new(batch.filter(pa.array(new)))

    def _add_new(self, batch: Any) -> None:
        answers = self._indices(batch["label"])
        tokens = _integers(batch["tokens"])
        self._answers += np.bincount(answers, minlength=len(self._labels))
        self._lengths += length_histogram(tokens).counts
        self._scores += score_histogram(_numpy(batch["score"]).astype(np.float64)).counts
        self._tokens += _sums(tokens, _integers(batch["unknown_tokens"]))
        self._texts.offer(batch["text"])

    def traffic(self) -> Traffic:
        return Traffic(
            labels=self._labels,
            answers=self._answers,
            lengths=self._lengths,
            top_scores=self._scores,
            tokens=self._tokens,
            segments={name: counts for name, counts in self._segments.items() if name != OTHER},
            texts=tuple(self._texts.kept()),
            repeated=self._repeated,
            begin=self._begin,
            end=self._end,
        )

    def _indices(self, column: Any) -> Counts:
        found = _numpy(pc.fill_null(pc.index_in(column, pa.array(self._labels)), -1))
        if (found < 0).any():
            stranger = column[int(found.argmin())].as_py()
            raise DataInvalid(
                f"the log has an answer {stranger!r}, the version answers {list(self._labels)}: give the "
                "bundle of the version whose rows these are"
            )
        return found.astype(np.int64)

    def _count_segments(self, column: Any, keys: Keys, answers: Counts) -> None:
        codes, names = _codes(column)
        if not names:
            return
        # The key of a text in a segment: multiplying by an odd number keeps the hashes of the texts apart.
        both = keys * np.uint64(0x9E3779B97F4A7C15) + hashes(pa.array(names))[codes]
        known = codes >= 0
        known[known] = self._seen_in_segment.add(both[known])
        places = codes[known].astype(np.int64) * len(self._labels) + answers[known]
        table = np.bincount(places, minlength=len(names) * len(self._labels))
        for name, counts in zip(names, table.reshape(len(names), len(self._labels)), strict=True):
            there = name in self._segments or len(self._segments) < SEGMENTS
            key = name if there else OTHER
            self._segments[key] = self._segments.get(key, 0) + counts


class _Draw:
    """So many of any number of texts, each with the same chance: those with the least random keys."""

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._rng = np.random.default_rng(seed)
        self._kept: list[tuple[float, str]] = []
        self._last = 1.0

    def offer(self, column: Any) -> None:
        keys = self._rng.random(len(column))
        keys[~_numpy(column.is_valid())] = 1.0  # random() is below 1
        for place in np.flatnonzero(keys < self._last).tolist():
            self._kept.append((float(keys[place]), column[place].as_py()))
        if len(self._kept) > self._most:
            self._kept = sorted(self._kept)[: self._most]
            self._last = self._kept[-1][0]

    def kept(self) -> list[str]:
        return [text for _, text in sorted(self._kept)]


def _sums(tokens: Counts, unknown: Counts) -> TokenSums:
    return TokenSums(
        texts=len(tokens),
        tokens=int(tokens.sum()),
        unknown=int(unknown.sum()),
        tokens_squared=int(tokens @ tokens),
        unknown_squared=int(unknown @ unknown),
        product=int(tokens @ unknown),
    )


def _codes(column: Any) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Each row's place among the distinct names, -1 without a name; and the names."""
    encoded = column.dictionary_encode()
    return _numpy(pc.fill_null(encoded.indices, -1)), encoded.dictionary.to_pylist()


def _integers(column: Any) -> Counts:
    return _numpy(column).astype(np.int64)


def _numpy(column: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found
