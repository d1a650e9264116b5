"""Statistics of a time window of the log, counted in one pass and in bounded memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from train.drift.statistics import Counts, TokenSums
from train.errors import DataError
from train.prediction_log.distinct import DistinctKeys, Keys
from train.prediction_log.join import hashes
from train.prediction_log.label_accuracy import FeedbackCounts
from train.prediction_log.reader import Window
from train.profile import LENGTH_EDGES, SAMPLE_TEXTS, SCORE_BINS, length_histogram, score_histogram

SegmentHistory = Mapping[str, Counts]
"""Texts by period and predicted label, by name of the segment: int64 (periods, labels)."""


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """Texts that one version predicted, each counted once."""

    labels: tuple[str, ...]
    answers: Counts
    """Texts by predicted label: int64 (labels,)."""
    lengths: Counts
    """Texts by number of tokens: int64, in the bins of `train.profile.LENGTH_EDGES`."""
    top_scores: Counts
    """Texts by score of the prediction: int64, in the bins of `train.profile.score_histogram`."""
    tokens: TokenSums
    segments: Mapping[str, Counts]
    """Texts by predicted label, by name of the segment: int64 (labels,)."""
    texts: tuple[str, ...] = ()
    """Random sample of the rows that store their text; empty if the log stores no texts."""
    feedback: FeedbackCounts = field(default_factory=FeedbackCounts)
    repeated: int = 0
    """Further predictions of the same texts, which are not in the counts."""
    begin: datetime | None = None
    """Time of the first row."""
    end: datetime | None = None
    """Time of the last row."""

    @property
    def rows(self) -> int:
        """Return the number of distinct texts."""
        return int(self.answers.sum())


COLUMNS = ("time", "text", "text_sha256", "segment", "label", "score", "tokens", "unknown_tokens")
"""Columns of the prediction log from which a window's traffic is counted."""

SEGMENT_COLUMNS = ("time", "text_sha256", "segment", "label")
"""Columns of the prediction log from which the segments' history is counted."""

SEGMENTS = 10_000
"""Maximum number of distinct segments; further ones are counted in `OTHER`, and never checked."""
OTHER = ""


def count(batches: Iterable[Any], labels: tuple[str, ...], *, seed: int = 0) -> WindowStatistics:
    """Count rows: each text once, and once per segment, independent of the number of its requests.

    A text that is repeated, by a load test or because it is popular, is one observation of the traffic:
    dependent rows would invalidate any test of their shares.

    Args:
        batches: Arrow record batches with `COLUMNS`.
        labels: Labels of the version, in the order of the logits.
        seed: Random seed of the sample of texts.

    Raises:
        DataError: A row has an unknown label: it belongs to another version.
    """
    tally = _Tally(labels, seed)
    for batch in batches:
        if batch.num_rows:
            tally.add(batch)
    return tally.traffic()


def segment_history(
    batches: Iterable[Any], labels: tuple[str, ...], window: Window, periods: int
) -> SegmentHistory:
    """Count the texts of each segment by period and label; each text counts once in a segment and period.

    Args:
        batches: Arrow record batches with `SEGMENT_COLUMNS`.
        labels: Labels of the version, in the order of the logits.
        window: Window of the batches, divided into `periods` of equal length.
        periods: Number of periods.

    Raises:
        DataError: A row has an unknown label: it belongs to another version.
    """
    segments = _Segments(labels, periods)
    length_us = (window.until - window.since) / timedelta(microseconds=periods)
    for batch in batches:
        since_us = _numpy(batch["time"].cast(pa.int64())) - round(window.since.timestamp() * 1e6)
        period = np.clip(since_us // length_us, 0, periods - 1).astype(np.int64)
        answers = _indices(batch["label"], labels)
        segments.add(batch["segment"], hashes(batch["text_sha256"]), answers, period)
    return segments.counts()


_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)
"""2^64 divided by the golden ratio (Knuth 1998, The Art of Computer Programming 3, section 6.4)."""


class _Tally:
    def __init__(self, labels: tuple[str, ...], seed: int) -> None:
        self._labels = labels
        self._answers = np.zeros(len(labels), dtype=np.int64)
        self._lengths = np.zeros(len(LENGTH_EDGES) - 1, dtype=np.int64)
        self._scores = np.zeros(SCORE_BINS, dtype=np.int64)
        self._tokens = TokenSums()
        self._segments = _Segments(labels)
        self._seen = DistinctKeys()
        self._repeated = 0
        self._texts = _RandomSample(SAMPLE_TEXTS, seed)
        self._begin: datetime | None = None
        self._end: datetime | None = None

    def add(self, batch: Any) -> None:
        first, last = pc.min_max(batch["time"]).as_py().values()
        self._begin = min(self._begin or first, first)
        self._end = max(self._end or last, last)
        keys = hashes(batch["text_sha256"])
        self._segments.add(batch["segment"], keys, _indices(batch["label"], self._labels))
        new = self._seen.add(keys)
        self._repeated += int((~new).sum())
        self._add_new(batch.filter(pa.array(new)))

    def _add_new(self, batch: Any) -> None:
        answers = _indices(batch["label"], self._labels)
        tokens = _integers(batch["tokens"])
        self._answers += np.bincount(answers, minlength=len(self._labels))
        self._lengths += length_histogram(tokens).counts
        self._scores += score_histogram(_numpy(batch["score"]).astype(np.float64)).counts
        self._tokens += _sums(tokens, _integers(batch["unknown_tokens"]))
        self._texts.offer(batch["text"])

    def traffic(self) -> WindowStatistics:
        return WindowStatistics(
            labels=self._labels,
            answers=self._answers,
            lengths=self._lengths,
            top_scores=self._scores,
            tokens=self._tokens,
            segments={name: counts[0] for name, counts in self._segments.counts().items()},
            texts=tuple(self._texts.kept()),
            repeated=self._repeated,
            begin=self._begin,
            end=self._end,
        )


class _Segments:
    """Counter of texts by segment, period and label."""

    def __init__(self, labels: tuple[str, ...], periods: int = 1) -> None:
        self._shape = (periods, len(labels))
        self._counts: dict[str, Counts] = {}
        self._seen = DistinctKeys()

    def add(self, column: Any, keys: Keys, answers: Counts, period: Counts | int = 0) -> None:
        codes, names = _codes(column)
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            return
        places = (codes.astype(np.int64) * self._shape[0] + period)[known]
        # Key of a text in a segment and period; odd factors keep the hashes of the texts distinct.
        both = (
            keys * _ODD + hashes(pa.array(names))[codes] + np.asarray(period).astype(np.uint64) * _ODD * _ODD
        )
        new = self._seen.add(both[known])
        cells = places[new] * self._shape[1] + answers[known][new]
        table = np.bincount(cells, minlength=len(names) * self._shape[0] * self._shape[1])
        for name, counts in zip(names, table.reshape(len(names), *self._shape), strict=True):
            there = name in self._counts or len(self._counts) < SEGMENTS
            key = name if there else OTHER
            self._counts[key] = self._counts.get(key, 0) + counts

    def counts(self) -> dict[str, Counts]:
        """Return int64 (periods, labels) by segment name, without the segments counted in `OTHER`."""
        return {name: counts for name, counts in self._counts.items() if name != OTHER}


class _RandomSample:
    """Uniform random sample of a stream of texts: those with the lowest random keys."""

    def __init__(self, most: int, seed: int) -> None:
        self._most = most
        self._rng = np.random.default_rng(seed)
        self._kept: list[tuple[float, str]] = []
        self._last = 1.0

    def offer(self, column: Any) -> None:
        keys = self._rng.random(len(column))
        keys[~_numpy(column.is_valid())] = 1.0  # so that a null is never selected: random() is below 1
        for place in np.flatnonzero(keys < self._last).tolist():
            self._kept.append((float(keys[place]), column[place].as_py()))
        if len(self._kept) > self._most:
            self._kept = sorted(self._kept)[: self._most]
            self._last = self._kept[-1][0]

    def kept(self) -> list[str]:
        return [text for _, text in sorted(self._kept)]


def _indices(column: Any, labels: tuple[str, ...]) -> Counts:
    positions = _numpy(pc.fill_null(pc.index_in(column, pa.array(labels)), -1))
    if (positions < 0).any():
        unknown = column[int(positions.argmin())].as_py()
        raise DataError(
            f"the log has the label {unknown!r}, which the bundle does not have (labels: {list(labels)}); "
            "set --bundle to the version that made these predictions"
        )
    return positions.astype(np.int64)


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
    """Return each row's index among the distinct names, -1 without a name; and the names."""
    encoded = column.dictionary_encode()
    return _numpy(pc.fill_null(encoded.indices, -1)), encoded.dictionary.to_pylist()


def _integers(column: Any) -> Counts:
    return _numpy(column).astype(np.int64)


def _numpy(column: Any) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found
