"""Pools of texts for the drift benchmarks: tokens, predictions and embeddings of the built-in model.

They are computed once and cached in a temporary folder, since the model takes minutes for all of them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from train.datasets.splits import read_set
from train.model_uri import CACHE
from train.profile import ask
from train.settings import FileSettings

LABELS = ("NEGATIVE", "POSITIVE")
TEMPERATURE, UNKNOWN_TOKEN = 1.1153, 100
"""Temperature in the built-in model's bundle, and the id of its tokenizer's [UNK]."""

SIZES = {"sst2_train": 12_000, "tweets_sentiment": 1_500, "clothing_reviews": 2_000, "long_reviews": 1_000}
"""Texts of each set: enough for different windows of 1,000 texts, and few enough for a run of minutes."""

_STEP = 1_024


@dataclass(frozen=True)
class Pool:
    """Texts of one set in random order; each row of every array is a text."""

    truth: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float16]
    tokens: npt.NDArray[np.int64]
    unknown: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: npt.NDArray[np.int64] | slice) -> Pool:
        """Return a selection of the texts."""
        return Pool(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @property
    def answers(self) -> npt.NDArray[np.int64]:
        """Return the index of each text's predicted label."""
        answers: npt.NDArray[np.int64] = self.logits.argmax(axis=1)
        return answers


def joined(pools: Sequence[Pool]) -> Pool:
    """Concatenate several pools in their order."""
    return Pool(
        **{field.name: np.concatenate([getattr(p, field.name) for p in pools]) for field in fields(Pool)}
    )


def read_pools(data: Path, sizes: Mapping[str, int] = SIZES) -> dict[str, Pool]:
    """Load every pool from the cache, or compute it with the model."""
    folder = Path(tempfile.gettempdir()) / "drift_pools"
    folder.mkdir(exist_ok=True)
    classifier: Classifier | None = None
    pools = {}
    for name, size in sizes.items():
        file = folder / f"{name}-{size}.npz"
        if not file.exists():
            classifier = classifier or Classifier(resolver.fetch("builtin:", cache_dir=CACHE), threads=1)
            np.savez(file, **asdict(_pool(classifier, name, data, size)))
        with np.load(file) as arrays:
            pools[name] = Pool(**arrays)
    return pools


def texts_of(name: str, data: Path, size: int) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return texts and labels of a set in random order, without neutral ones."""
    names = {"0": "NEGATIVE", "1": "POSITIVE"}
    source = FileSettings(name=name, file=f"{name}.parquet", label_names=names, drop_labels=("2",))
    examples = read_set(source, LABELS, str(data))
    order = np.random.default_rng(0).permutation(len(examples))[:size]
    return [examples[i].text for i in order], np.array([examples[i].label for i in order])


def _pool(classifier: Classifier, name: str, data: Path, size: int) -> Pool:
    texts, truth = texts_of(name, data, size)
    parts: list[Any] = []
    for begin in range(0, len(texts), _STEP):
        encoded = classifier.preprocess(texts[begin : begin + _STEP])
        logits, embeddings = ask(classifier, encoded)
        parts.append(
            Pool(
                truth[begin : begin + _STEP],
                logits,
                embeddings.astype(np.float16),
                np.array([text.tokens for text in encoded]),
                np.array([text.ids.count(UNKNOWN_TOKEN) for text in encoded]),
            )
        )
        print(f"{name}: {begin + len(encoded):,} of {len(texts):,} texts", file=sys.stderr, flush=True)
    return joined(parts)
