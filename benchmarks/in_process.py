"""Model alone in this process: the cost of padding, and the reference rate for a service."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serve_app.model.classifier import Classifier
from serve_app.model.scorer import EncodedText


def rate(
    forward: Callable[[Sequence[EncodedText]], object], batches: Sequence[Sequence[EncodedText]]
) -> float:
    """Return the texts per second of a forward function over batches, in sequence."""
    began = time.perf_counter()
    for batch in batches:
        forward(batch)
    return sum(map(len, batches)) / (time.perf_counter() - began)


def cut(items: Sequence[EncodedText], size: int) -> list[Sequence[EncodedText]]:
    """Return batches of `size` in arrival order."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def cut_by_length(
    items: Sequence[EncodedText], size: int, *, window: int | None = None
) -> list[Sequence[EncodedText]]:
    """Return batches of `size` with similar lengths, sorted within a window of arrivals or over all texts."""
    batches: list[Sequence[EncodedText]] = []
    for group in cut(items, window or len(items)):
        batches += cut(sorted(group, key=lambda item: item.tokens), size)
    return batches


def padded(classifier: Classifier) -> Callable[[Sequence[EncodedText]], object]:
    """Return a forward function that pads a batch to its longest text, as libraries do."""
    return lambda batch: classifier.padded_logits([item.ids for item in batch])
