"""Cutting the texts of one step into forwards of like lengths, so that little of the work is padding."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
L = TypeVar("L")

FORWARD_COST_TOKENS = 160
"""What one more forward costs beside its tokens, in tokens: keeps a step from falling into single texts."""

GPU_FORWARD_COST_TOKENS = 16_384
"""The same on a GPU, which waits for the launches of a small forward and not for its products."""


def steps(draws: Sequence[T], batch_texts: int) -> Iterator[Sequence[T]]:
    """Consecutive runs of `batch_texts`; the last may be shorter."""
    for begin in range(0, len(draws), batch_texts):
        yield draws[begin : begin + batch_texts]


def deal(texts: Sequence[tuple[Sequence[int], L]], rank: int, workers: int) -> list[tuple[Sequence[int], L]]:
    """One worker's share of a step: dealt by length, so that all shares cost about as much.

    Args:
        texts: Token ids and label of every text of the step; at least as many as workers.
        rank: Of the worker, from 0.
        workers: How many share the step.
    """
    return sorted(texts, key=lambda text: len(text[0]))[rank::workers]


def micro_batches(
    lengths: Sequence[int], budget_tokens: int, forward_cost_tokens: int = FORWARD_COST_TOKENS
) -> list[list[int]]:
    """Group texts so that the padded tokens plus a fixed cost a forward are least, under a budget a forward.

    Sorted by length, the best grouping is into neighbours, so a shortest path over the cuts finds it.

    Args:
        lengths: Tokens of each text.
        budget_tokens: Most padded tokens (longest x texts) of a group; a longer text is a group of its own.
        forward_cost_tokens: What a forward costs beside its padded tokens.

    Returns:
        Groups of indices into `lengths`; every index is in exactly one.
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
