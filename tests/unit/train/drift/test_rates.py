"""Rates and their p-values against values worked out by hand."""

import math

import pytest

from train.drift.rates import TokenSums, fall_p, fisher_p, rate_rise_p

# Two texts, of 4 tokens none unknown, of 6 two.
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
    # Of 20 ways to choose three of six, one has all the marked ones, and one none.
    assert fisher_p(3, 3, 0, 3) == pytest.approx(2 / 20)
    assert fall_p(0, 3, 3, 3) == pytest.approx(1 / 20)
    assert fall_p(3, 3, 0, 3) == pytest.approx(1)
