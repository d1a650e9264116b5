"""Tests of micro-batches: every text once, budget per forward pass, little padding, equal shares of cost."""

import random

import pytest

from train.training.batches import FORWARD_COST_TOKENS, micro_batches, shard_batch, steps


def padded(lengths: list[int], groups: list[list[int]]) -> int:
    return sum(max(lengths[i] for i in group) * len(group) for group in groups)


@pytest.mark.parametrize("seed", range(20))
def test_every_text_comes_once_and_no_forward_is_over_budget(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [min(512, int(rng.lognormvariate(3, 1)) + 3) for _ in range(rng.randint(1, 96))]

    groups = micro_batches(lengths, 600)

    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert max(lengths[i] for i in group) * len(group) <= 600


def test_a_text_over_the_budget_goes_alone() -> None:
    assert [1] in micro_batches([10, 900, 12], 600)


def test_padding_is_traded_for_forwards() -> None:
    lengths = [10] * 30 + [100] * 30
    alike = [10, 11, 10, 12]

    assert len(micro_batches(lengths, 10_000)) == 2
    assert len(micro_batches(alike, 10_000)) == 1


def test_the_grouping_is_no_dearer_than_any_contiguous_one() -> None:
    lengths = [3, 40, 41, 90, 300, 310]

    def cost(groups: list[list[int]]) -> int:
        return padded(lengths, groups) + FORWARD_COST_TOKENS * len(groups)

    best = cost(micro_batches(lengths, 10_000))
    for mask in range(2 ** (len(lengths) - 1)):
        groups = [[0]]
        for i in range(1, len(lengths)):
            if mask >> (i - 1) & 1:
                groups.append([])
            groups[-1].append(i)
        assert best <= cost(groups)


def test_no_texts_no_forwards() -> None:
    assert micro_batches([], 100) == []


def test_steps_are_consecutive() -> None:
    assert [list(step) for step in steps(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shares_hold_every_text_once_and_cost_alike(workers: int) -> None:
    rng = random.Random(3)
    texts = [([i] * rng.randint(3, 200), i) for i in range(96)]

    shares = [shard_batch(texts, rank, workers) for rank in range(workers)]

    assert sorted(label for share in shares for _, label in share) == list(range(96))
    tokens = [sum(len(ids) for ids, _ in share) for share in shares]
    assert max(tokens) - min(tokens) <= 200
