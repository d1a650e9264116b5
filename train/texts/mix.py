"""The order in which a run shows its texts: how often each set and class, and which part of a long text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.settings import DataSettings
from train.texts.examples import Example, word_keys

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draw:
    """One showing of one text."""

    source: int
    """Index of the set."""
    index: int
    """Index of the text in the set's training part."""
    max_tokens: int
    """What it is cut to, [CLS] and [SEP] counted."""
    start: float
    """Where the cut begins: 0 the text's beginning, towards 1 its end."""


def schedule(parts: Sequence[Sequence[Example]], settings: Sequence[DataSettings], seed: int) -> list[Draw]:
    """All draws of a run, in order; the same arguments give the same list.

    Every set is spread evenly over the whole run, so each stretch of it holds the mix.

    Args:
        parts: The training part of each set.
        settings: What the settings say of each, in the same order.
        seed: Of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    draws: list[Draw] = []
    positions: list[float] = []
    for source, (part, of_set) in enumerate(zip(parts, settings, strict=True)):
        order = _order(part, of_set, rng)
        count = len(order)
        crops = rng.choice(
            [crop.tokens for crop in of_set.crops], size=count, p=[crop.share for crop in of_set.crops]
        )
        # Serving sees a long text's beginning: half of the cuts begin there, the others anywhere.
        starts = np.where(rng.random(count) < 0.5, 0.0, rng.random(count))
        positions.extend(((np.arange(count) + rng.random(count)) / max(count, 1)).tolist())
        draws.extend(
            Draw(source, int(index), int(tokens), float(start))
            for index, tokens, start in zip(order, crops, starts, strict=True)
        )
    return [draws[i] for i in np.argsort(positions, kind="stable")]


def _order(part: Sequence[Example], of_set: DataSettings, rng: np.random.Generator) -> Indices:
    labels = np.array([example.label for example in part], dtype=np.int64)
    everything = np.arange(len(part), dtype=np.int64)
    if of_set.balance and len(part):
        classes = [everything[labels == label] for label in np.unique(labels)]
        each = round(of_set.passes * min(len(members) for members in classes))
        order = _spread([_repeat(members, each, rng) for members in classes], rng)
    else:
        order = _repeat(everything, round(of_set.passes * len(part)), rng)
    if of_set.long_passes:
        lengths = np.array([len(word_keys(example.text)) for example in part])
        long = everything[lengths >= of_set.long_words]
        order = _spread([order, _repeat(long, round(of_set.long_passes * len(long)), rng)], rng)
    return order


def _repeat(members: Indices, count: int, rng: np.random.Generator) -> Indices:
    """`count` draws, pass after pass, each pass in a new order: no text comes twice before all came once."""
    passes = [rng.permutation(members) for _ in range(-(-count // max(len(members), 1)))]
    return np.concatenate([np.empty(0, dtype=np.int64), *passes])[:count]


def _spread(parts: Sequence[Indices], rng: np.random.Generator) -> Indices:
    """Merge sequences so that each is spread evenly and keeps its own order."""
    positions = [np.sort(rng.random(len(part))) for part in parts]
    merged: Indices = np.concatenate(parts)[np.argsort(np.concatenate(positions), kind="stable")]
    return merged


def cut(token_ids: Sequence[int], max_tokens: int, start: float) -> list[int]:
    """A window of a tokenised text, between its own first and last special token.

    Args:
        token_ids: The whole text, [CLS] first and [SEP] last.
        max_tokens: Of the result, both counted.
        start: Where the window begins, as in `Draw.start`.
    """
    body = token_ids[1:-1]
    room = max_tokens - 2
    begin = int(start * (len(body) - room + 1)) if len(body) > room else 0
    return [token_ids[0], *body[begin : begin + room], token_ids[-1]]
