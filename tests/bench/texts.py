"""The texts of a benchmark: real ones where there are some, the load test's invented ones elsewhere."""

from __future__ import annotations

import random
from pathlib import Path

from loadtest.invented import invent

SHARES = {"sst2_dev": 0.35, "tweets_sentiment": 0.45, "clothing_reviews": 0.15, "beauty_amazon": 0.05}
"""Mixed as a service may meet them: sentences, tweets, and some reviews; about 35 tokens on average."""


def mixed(count: int, data: Path | None, *, seed: int = 0) -> tuple[list[str], str]:
    """Texts in random order, and where they are from.

    Args:
        count: how many.
        data: folder with the sets of `SHARES` as Parquet files with a `text` column; None for invented texts.
        seed: of the order and the choice.
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
