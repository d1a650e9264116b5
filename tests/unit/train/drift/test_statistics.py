"""Tests of the shift statistics against values calculated by hand."""

import math

import numpy as np
import pytest

from train.drift.statistics import (
    TokenSums,
    by_mean_score,
    by_threshold,
    coarsen,
    fall_p,
    fisher_p,
    homogeneity_p,
    mean_score,
    psi,
    rate_rise_p,
    shares,
    total_variation,
)
from train.profile import Histogram

EVEN, UNEVEN = np.array([50, 50]), np.array([30, 70])


def test_psi() -> None:
    # Each bin gets half a text more: p = 1/2, 1/2; q = 30.5/101, 70.5/101.
    q = 30.5 / 101
    expected = (q - 0.5) * math.log(q / 0.5) + (0.5 - q) * math.log((1 - q) / 0.5)

    assert expected == pytest.approx(0.1659, abs=1e-4)
    assert psi(EVEN, UNEVEN) == pytest.approx(expected)
    assert psi(UNEVEN, EVEN) == pytest.approx(expected)
    assert psi(EVEN, 7 * EVEN) == pytest.approx(0)
    assert math.isfinite(psi(np.array([100, 0]), np.array([0, 100])))


def test_total_variation_is_the_share_that_moved() -> None:
    assert total_variation(EVEN, UNEVEN) == pytest.approx(0.2)
    assert total_variation(np.array([10, 0]), np.array([0, 3])) == 1


def test_homogeneity() -> None:
    # chi2 = 200 (50 * 70 - 50 * 30)^2 / (100 * 100 * 80 * 120) = 25 / 3, one degree of freedom.
    assert homogeneity_p(EVEN, UNEVEN) == pytest.approx(math.erfc(math.sqrt(25 / 6)))
    assert homogeneity_p(np.array([50, 0]), np.array([9, 0])) == 1


def test_bins_are_joined_until_each_has_a_twentieth_of_the_reference() -> None:
    reference, current = coarsen(np.array([1, 1, 50, 48, 0]), np.array([0, 2, 3, 4, 5]))

    assert reference.tolist() == [52, 48]
    assert current.tolist() == [5, 9]


def test_a_reference_in_one_bin_stays_one_bin() -> None:
    reference, current = coarsen(np.array([0, 0, 9]), np.array([1, 2, 3]))

    assert (reference.sum(), current.sum()) == (9, 6)
    assert shares(reference).sum() == 1


# The first text has 4 tokens, none of them unknown; the second has 6 tokens, 2 of them unknown.
TWO = TokenSums(1, 4, 0, 16, 0, 0) + TokenSums(1, 6, 2, 36, 4, 12)


def test_the_rate_of_unknown_tokens_varies_by_text() -> None:
    # u - r t is -0.8 and 0.8; 2 / (2 - 1) * (0.64 + 0.64) / 10^2.
    assert TWO.rate == pytest.approx(0.2)
    assert TWO.rate_variance == pytest.approx(0.0256)


def test_the_rise_of_the_rate() -> None:
    # Two texts against two: twice the variance. (0.2 - 0.05) / sqrt(0.0512) = 0.663.
    expected = math.erfc(0.15 / math.sqrt(0.0512) / math.sqrt(2)) / 2

    assert rate_rise_p(TWO, 0.05, 2) == pytest.approx(expected)
    assert rate_rise_p(TWO, 0.2, 2) == pytest.approx(0.5)


def test_without_variance_a_rise_is_certain() -> None:
    every_second = TokenSums(2, 8, 4, 32, 8, 16)

    assert rate_rise_p(every_second, 0.1, 100) == 0
    assert rate_rise_p(every_second, 0.5, 100) == 1


def test_fisher() -> None:
    # Of the 20 ways to choose three of six, one contains all the marked items, and one contains none.
    assert fisher_p(3, 3, 0, 3) == pytest.approx(2 / 20)
    assert fall_p(0, 3, 3, 3) == pytest.approx(1 / 20)
    assert fall_p(3, 3, 0, 3) == pytest.approx(1)


REFERENCE = Histogram(edges=(0, 0.5, 1), counts=(20, 80))
CURRENT = np.array([50, 50])


def test_the_mean_score_is_that_of_the_bins_middles() -> None:
    # 0.2 * 0.25 + 0.8 * 0.75, and 0.2 * 0.4^2 + 0.8 * 0.1^2.
    assert mean_score(REFERENCE.edges, np.array(REFERENCE.counts)) == pytest.approx((0.65, 0.04))


def test_what_the_mean_score_falls_the_accuracy_falls() -> None:
    assert by_mean_score(REFERENCE, 0.8, CURRENT) == pytest.approx(0.8 - (0.65 - 0.5))
    assert by_mean_score(REFERENCE, 0.1, np.array([9, 0])) == 0


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (0.8, 0.5),  # a fifth of the reference is below 0.5, and half of the window is above
        (0.9, 0.75),  # a tenth of the reference is below 0.25, and so is a quarter of the window
        (1.0, 1.0),
    ],
)
def test_the_threshold_leaves_as_many_below_as_were_wrong(accuracy: float, expected: float) -> None:
    assert by_threshold(REFERENCE, accuracy, CURRENT) == pytest.approx(expected)


def test_a_window_like_the_reference_has_its_accuracy() -> None:
    assert by_threshold(REFERENCE, 0.83, np.array([2, 8])) == pytest.approx(0.83)
    assert by_mean_score(REFERENCE, 0.83, np.array([2, 8])) == pytest.approx(0.83)
