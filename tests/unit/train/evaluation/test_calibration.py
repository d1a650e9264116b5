"""Tests of calibration figures against values calculated by hand."""

import numpy as np
import pytest

from train.evaluation.calibration import BINS, calibration


def binary(top: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return rows of scores that answer label 1 with these scores."""
    return np.array([[1 - score, score] for score in top], dtype=np.float32)


def test_the_error_of_two_bins_by_hand() -> None:
    # 15 bins: 0.7 is in (10/15, 11/15], 0.95 in (14/15, 1].
    # Bin of 0.7: 4 texts, 3 right: |0.75 - 0.70| = 0.05. Bin of 0.95: 6 texts, 3 right: |0.50 - 0.95| = 0.45.
    scores = binary([0.7] * 4 + [0.95] * 6)
    truth = [1, 1, 1, 0, 1, 1, 1, 0, 0, 0]

    found = calibration(scores, truth)

    assert found.error == pytest.approx((4 * 0.05 + 6 * 0.45) / 10, abs=1e-6)
    filled = {round(a_bin.low * BINS): a_bin for a_bin in found.bins if a_bin.texts}
    assert set(filled) == {10, 14}
    assert (filled[10].texts, filled[10].accuracy) == (4, 0.75)
    assert filled[14].mean_score == pytest.approx(0.95)


def test_likelihood_loss_by_hand() -> None:
    found = calibration(binary([0.8, 0.8]), [1, 0])

    assert found.negative_log_likelihood == pytest.approx(-(np.log(0.8) + np.log(0.2)) / 2, abs=1e-6)


def test_every_text_is_in_one_bin_at_the_edges_too() -> None:
    found = calibration(np.array([[1.0, 0.0], [0.0, 0.0], [0.5, 0.5]], dtype=np.float32), [0, 0, 0])

    assert sum(a_bin.texts for a_bin in found.bins) == 3
    assert found.bins[-1].texts == 1
    assert found.bins[0].texts == 1


def test_a_sure_mistake_has_a_finite_loss() -> None:
    assert np.isfinite(calibration(binary([1.0]), [0]).negative_log_likelihood)


def test_scores_that_are_true_have_little_error_and_sharpened_ones_much() -> None:
    rng = np.random.default_rng(7)
    p = rng.uniform(0, 1, 20_000)
    truth = (rng.random(20_000) < p).astype(np.int64)
    scores = np.stack([1 - p, p], axis=1).astype(np.float32)
    odds = (p / (1 - p)) ** 3
    sharp = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1).astype(np.float32)

    assert calibration(scores, truth).error < 0.02
    assert calibration(sharp, truth).error > 0.1
