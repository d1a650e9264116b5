"""Micro-batches of texts with similar lengths within one step, which keep the padding low."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
L = TypeVar("L")

FORWARD_COST_TOKENS = 160
"""Fixed cost of a forward pass in addition to its tokens, in tokens; it prevents micro-batches of single
texts."""

GPU_FORWARD_COST_TOKENS = 16_384
"""The same cost on a GPU, where small forward passes are bound by kernel launches and not by matrix
products."""


def steps(draws: Sequence[T], batch_texts: int) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of `batch_texts` draws; the last one may be shorter."""
    for begin in range(0, len(draws), batch_texts):
        yield draws[begin : begin + batch_texts]


def shard_batch(
    texts: Sequence[tuple[Sequence[int], L]], rank: int, workers: int
) -> list[tuple[Sequence[int], L]]:
    """Return one worker's share of a step, dealt by length, so that all shares have a similar cost.

    Args:
        texts: Token ids and label of every text of the step; at least as many as workers.
        rank: Rank of the worker, from 0.
        workers: Number of workers that share the step.
    """
    return sorted(texts, key=lambda text: len(text[0]))[rank::workers]


def micro_batches(
    lengths: Sequence[int], budget_tokens: int, forward_cost_tokens: int = FORWARD_COST_TOKENS
) -> list[list[int]]:
    """Group texts to minimise the padded tokens plus a fixed cost per forward pass, within a token budget.

    After sorting by length, the optimal groups are contiguous, so a shortest path over the cuts finds them.

    Args:
        lengths: Number of tokens of each text.
        budget_tokens: Maximum number of padded tokens (longest x texts) of a group; a longer text is a group
            of its own.
        forward_cost_tokens: Cost of a forward pass in addition to its padded tokens, in tokens.

    Returns:
        Groups of indices into `lengths`; every index is in exactly one group.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    best = [0.0] * (len(order) + 1)
    cut_before = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        best[end] = float("inf")
        for begin in range(end - 1, -1, -1):
            padded = longest * (end - begin)
            if padded > budget_tokens and end - begin > 1:
                break
            cost = best[begin] + padded + forward_cost_tokens
            if cost < best[end]:
                best[end], cut_before[end] = cost, begin
    groups = []
    end = len(order)
    while end:
        groups.append(order[cut_before[end] : end])
        end = cut_before[end]
    return groups[::-1]
