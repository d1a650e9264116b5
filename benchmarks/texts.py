"""Texts of a benchmark: real ones if they are available, otherwise the load test's generated ones."""

from __future__ import annotations

import random
from pathlib import Path

from loadtest.synthetic_texts import invent

SHARES = {"sst2_dev": 0.35, "tweets_sentiment": 0.45, "clothing_reviews": 0.15, "beauty_amazon": 0.05}
"""Mixture that a service may receive: sentences, tweets, and some reviews; about 35 tokens on average."""


KINDS = ("short", "mixed", "long")
_SHORT_WORDS, _LONG_WORDS = 4, 150


def of_kind(kind: str, count: int, data: Path | None) -> tuple[list[str], str]:
    """Return texts of a kind, and their source.

    Args:
        kind: "mixed"; "short" for the first words of mixed texts; "long" for mixed texts joined until they
            have a certain number of words.
        count: Number of texts.
        data: See `mixed`.
    """
    texts, source = mixed(count, data)
    if kind == "short":
        return [" ".join(text.split()[:_SHORT_WORDS]) for text in texts], source
    if kind == "long":
        return [_joined(texts, start) for start in range(count)], source
    return texts, source


def _joined(texts: list[str], start: int) -> str:
    """Return the text at `start` and its successors up to the words of a long text."""
    words: list[str] = []
    while len(words) < _LONG_WORDS:
        words += texts[start % len(texts)].split()
        start += 1
    return " ".join(words[:_LONG_WORDS])


def mixed(count: int, data: Path | None, *, seed: int = 0) -> tuple[list[str], str]:
    """Return texts in random order, and their source.

    Args:
        count: number of texts.
        data: folder with the sets of `SHARES` as Parquet files with a `text` column; None for generated
            texts.
        seed: seed of the order and the selection.
    """
    rng = random.Random(seed)
    if data is None:
        return list(invent(count, seed)), "invented texts"
    import pandas as pd

    texts: list[str] = []
    for name, share in SHARES.items():
        column = pd.read_parquet(data / f"{name}.parquet", columns=["text"])["text"]
        wanted = round(count * share)
        texts += [column[i] for i in rng.sample(range(len(column)), min(wanted, len(column)))]
    rng.shuffle(texts)
    return texts, f"{data.name}: {', '.join(SHARES)}"
