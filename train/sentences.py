"""`sentences`: a set of sentences out of labelled reviews, where a model and the review agree.

A review's label says little about each of its sentences, and a model's own answer teaches it nothing new.
Where the two agree, the label is mostly right, and the sentence has other words than the labelled ones have.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.data import Example, deduplicate
from train.evaluate import Model

_BOUNDARY = re.compile(r"(?:<br\s*/?>\s*)+|(?<=[.!?])[\"')\]]*\s+")


def split_sentences(text: str, *, min_words: int, max_words: int) -> Iterator[str]:
    """The sentences of a text that have `min_words` to `max_words` words, in order, in one line each."""
    for part in _BOUNDARY.split(text):
        words = part.split()
        if min_words <= len(words) <= max_words:
            yield " ".join(words)


def agreed_sentences(
    reviews: Sequence[Example], model: Model, *, min_score: float, min_words: int = 5, max_words: int = 45
) -> tuple[Example, ...]:
    """Sentences of reviews, each with its review's label, where the model gives that label `min_score`.

    Args:
        reviews: Whole texts and their labels.
        model: Its scores are logits, or the logarithms of probabilities.
        min_score: 0..1, compared with the softmax of the scores.
        min_words: Shorter sentences are left out.
        max_words: Longer ones too; they are mostly lists, or text without full stops.

    Returns:
        Each sentence once, in the order of the reviews.
    """
    sentences = deduplicate(
        Example(sentence, review.label)
        for review in reviews
        for sentence in split_sentences(review.text, min_words=min_words, max_words=max_words)
    )
    if not sentences:
        return ()
    scores = _softmax(model.scores([sentence.text for sentence in sentences]))
    return tuple(
        sentence for sentence, row in zip(sentences, scores, strict=True) if row[sentence.label] >= min_score
    )


def write_sentences(sentences: Sequence[Example], labels: Sequence[str], file: Path) -> None:
    """Write `text` and `label`, the latter by name, as Parquet.

    Args:
        sentences: In the order of the rows.
        labels: Names of the labels, by index.
        file: Its folder is made if missing.
    """
    import pandas as pd

    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "text": [sentence.text for sentence in sentences],
        "label": [labels[sentence.label] for sentence in sentences],
    }
    pd.DataFrame(columns).to_parquet(file, compression="zstd", index=False)


def _softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float32] = exponents / exponents.sum(axis=1, keepdims=True)
    return shares
