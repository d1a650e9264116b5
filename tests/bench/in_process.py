"""The model alone, in this process: what padding costs, and the rate that a service is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from serve_app.model.classifier import Classifier, Encoded


def rate(forward: Callable[[Sequence[Encoded]], object], batches: Sequence[Sequence[Encoded]]) -> float:
    """Texts a second of a forward over batches, one after the other."""
    began = time.perf_counter()
    for batch in batches:
        forward(batch)
    return sum(map(len, batches)) / (time.perf_counter() - began)


def cut(items: Sequence[Encoded], size: int) -> list[Sequence[Encoded]]:
    """Batches of `size` in arrival order."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def cut_by_length(
    items: Sequence[Encoded], size: int, *, window: int | None = None
) -> list[Sequence[Encoded]]:
    """Batches of `size` of like lengths: sorted within a window of arrivals, or over all of them."""
    batches: list[Sequence[Encoded]] = []
    for group in cut(items, window or len(items)):
        batches += cut(sorted(group, key=lambda item: item.tokens), size)
    return batches


def padded(classifier: Classifier) -> Callable[[Sequence[Encoded]], object]:
    """The forward that pads a batch to its longest text, as libraries do."""
    return lambda batch: classifier.padded_logits([item.ids for item in batch])
