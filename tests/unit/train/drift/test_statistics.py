"""Shifts of counts against values worked out by hand."""

import math

import numpy as np
import pytest

from train.drift.statistics import coarsen, homogeneity_p, psi, shares, total_variation

EVEN, UNEVEN = np.array([50, 50]), np.array([30, 70])


def test_psi() -> None:
    # Half a text more in each bin: p = 1/2, 1/2; q = 30.5/101, 70.5/101.
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
