"""Training schedule: how often each set and class is used, in which order, and crops of long texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.settings import DataSettings

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainPart:
    """Properties of the training texts of a set that the schedule needs, in their order."""

    labels: npt.NDArray[np.int16]
    words: npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class SampledExample:
    """One use of one text."""

    source: int
    """Index of the set."""
    index: int
    """Index of the text in the set's training part."""
    max_tokens: int
    """Maximum length of the crop in tokens, including [CLS] and [SEP]."""
    start: float
    """Relative position of the crop: 0 at the start of the text, towards 1 at its end."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """All draws of a run, in order: arrays of one length, 14 bytes per draw; fields of `SampledExample`."""

    source: npt.NDArray[np.int16]
    index: npt.NDArray[np.int32]
    max_tokens: npt.NDArray[np.int32]
    start: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index)

    def draws(self, begin: int = 0, end: int | None = None) -> list[SampledExample]:
        """Return a range of the draws."""
        part = slice(begin, len(self) if end is None else end)
        columns = (self.source[part], self.index[part], self.max_tokens[part], self.start[part])
        return [
            SampledExample(*values) for values in zip(*(column.tolist() for column in columns), strict=True)
        ]


def schedule(parts: Sequence[TrainPart], settings: Sequence[DataSettings], seed: int) -> Schedule:
    """Return all draws of a run, in order; the same arguments give the same draws.

    Every set is spread evenly over the entire run, so each range of it has the same mix.

    Args:
        parts: Training part of each set.
        settings: Settings of each set, in the same order.
        seed: Random seed.
    """
    rng = np.random.default_rng(seed)
    sources, indices, lengths, starts, positions = [], [], [], [], []
    for source, (part, of_set) in enumerate(zip(parts, settings, strict=True)):
        order = _order(part, of_set, rng)
        count = len(order)
        crops = rng.choice(
            [crop.tokens for crop in of_set.crops], size=count, p=[crop.share for crop in of_set.crops]
        )
        sources.append(np.full(count, source, dtype=np.int16))
        indices.append(order.astype(np.int32))
        lengths.append(crops.astype(np.int32))
        # The service reads the start of a long text: half of the crops start there, the others at random.
        starts.append(np.where(rng.random(count) < 0.5, 0.0, rng.random(count)).astype(np.float32))
        positions.append((np.arange(count) + rng.random(count)) / max(count, 1))
    order = np.argsort(np.concatenate(positions), kind="stable")
    return Schedule(
        source=np.concatenate(sources)[order],
        index=np.concatenate(indices)[order],
        max_tokens=np.concatenate(lengths)[order],
        start=np.concatenate(starts)[order],
    )


def _order(part: TrainPart, of_set: DataSettings, rng: np.random.Generator) -> Indices:
    everything = np.arange(len(part.labels), dtype=np.int64)
    if of_set.balance and len(everything):
        classes = [everything[part.labels == label] for label in np.unique(part.labels)]
        each = round(of_set.passes * min(len(members) for members in classes))
        order = _spread([_repeat(members, each, rng) for members in classes], rng)
    else:
        order = _repeat(everything, round(of_set.passes * len(everything)), rng)
    if of_set.long_passes:
        long = everything[part.words >= of_set.long_words]
        order = _spread([order, _repeat(long, round(of_set.long_passes * len(long)), rng)], rng)
    return order


def _repeat(members: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Return `count` draws in shuffled passes: no text is repeated before all texts were drawn once."""
    passes = [rng.permutation(members) for _ in range(-(-count // max(len(members), 1)))]
    return np.concatenate([np.empty(0, dtype=np.int64), *passes])[:count]


def _spread(parts: Sequence[Indices], rng: np.random.Generator) -> Indices:
    """Merge sequences so that each is spread evenly and keeps its own order."""
    positions = [np.sort(rng.random(len(part))) for part in parts]
    merged: Indices = np.concatenate(parts)[np.argsort(np.concatenate(positions), kind="stable")]
    return merged


@dataclass(frozen=True, slots=True)
class Frame:
    """Special tokens that a tokenizer adds to a text, and the part of a long text that the service reads."""

    before: int = 1
    """Number of special tokens before the text, such as [CLS]; 0 for a decoder."""
    after: int = 1
    """Number of special tokens after the text."""
    reads_end: bool = False
    """Whether the service reads the end of a long text, and not its start."""
    max_tokens: int = 1 << 20
    """Maximum number of tokens that the model reads, including special tokens."""


def cut(token_ids: Sequence[int], max_tokens: int, start: float, frame: Frame = Frame()) -> list[int]:
    """Return a crop of a tokenised text, between its own special tokens.

    Args:
        token_ids: All tokens of the text, special tokens first and last.
        max_tokens: Maximum length of the result, including special tokens; limited by the model's maximum.
        start: Relative position of the crop, as in `SampledExample.start`; 0 is the part that the
            service reads.
        frame: Special tokens.
    """
    after = len(token_ids) - frame.after
    body = token_ids[frame.before : after]
    room = min(max_tokens, frame.max_tokens) - frame.before - frame.after
    begin = int(start * (len(body) - room + 1)) if len(body) > room else 0
    if frame.reads_end and len(body) > room:
        begin = len(body) - room - begin
    return [*token_ids[: frame.before], *body[begin : begin + room], *token_ids[after:]]
