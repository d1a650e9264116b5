"""Tests of the maximum mean discrepancy: values calculated by hand, its definition, and its power."""

import math

import numpy as np
import pytest

from train.drift.mmd import Embedded, discrepancy, gaussian_kernel, squared


def test_by_hand() -> None:
    # Points 0, 1 against 3, 4: squared distances 1, 9, 16, 4, 9, 1 with median 6.5.
    kernel = gaussian_kernel(np.array([[0.0], [1.0], [3.0], [4.0]]))
    within = math.exp(-1 / 13)  # k(d) = exp(-d^2 / 2 / 6.5)
    between = (2 * math.exp(-9 / 13) + math.exp(-16 / 13) + math.exp(-4 / 13)) / 4

    found = squared(kernel, np.array([[1.0], [1.0], [0.0], [0.0]]))

    assert found == pytest.approx([within + within - 2 * between])


def test_the_unbiased_estimate_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    kernel = gaussian_kernel(np.concatenate([x, y]))
    xx = sum(kernel[i, j] for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(kernel[i, j] for i in range(7, 12) for j in range(7, 12) if i != j) / (5 * 4)
    xy = sum(kernel[i, j] for i in range(7) for j in range(7, 12)) / (7 * 5)

    chosen = (np.arange(12) < 7).astype(float)[:, None]

    assert squared(kernel, chosen) == pytest.approx([xx + yy - 2 * xy])


def sample(rng: np.random.Generator, texts: int, *, negative: float, moved: float = 0.0) -> Embedded:
    """Return two distant clusters, one per label; `moved` shifts both."""
    answers = (rng.random(texts) >= negative).astype(np.int64)
    points = rng.normal(size=(texts, 8)) + 5 * answers[:, None] + moved
    return Embedded(points, answers)


def test_texts_that_moved_are_noticed() -> None:
    rng = np.random.default_rng(1)
    found = discrepancy(sample(rng, 200, negative=0.5), sample(rng, 200, negative=0.5, moved=0.5))

    assert found is not None
    assert found.p == pytest.approx(1 / 2001)


def test_another_mixture_of_labels_is_no_other_text() -> None:
    rng = np.random.default_rng(2)
    found = discrepancy(sample(rng, 300, negative=0.5), sample(rng, 300, negative=0.1))

    assert found is not None
    assert found.p > 0.01
    assert abs(found.squared) < 0.005


def test_of_equal_samples_one_in_twenty_has_a_p_below_a_twentieth() -> None:
    rng = np.random.default_rng(3)
    p = [
        discrepancy(sample(rng, 40, negative=0.5), sample(rng, 50, negative=0.4), permutations=199).p  # type: ignore[union-attr]
        for _ in range(100)
    ]

    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert 0.35 < np.mean(p) < 0.65


def test_labels_without_enough_texts_on_both_sides_are_not_compared() -> None:
    rng = np.random.default_rng(4)

    assert discrepancy(sample(rng, 100, negative=0), sample(rng, 100, negative=1)) is None


def test_equal_points_do_not_divide_by_zero() -> None:
    same = Embedded(np.ones((20, 3)), np.zeros(20, dtype=np.int64))
    found = discrepancy(same, same)

    assert found is not None
    assert (found.squared, found.p) == (0, 1)
