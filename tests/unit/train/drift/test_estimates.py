"""Accuracy without labels: two bins, by hand."""

import numpy as np
import pytest

from train.drift.estimates import by_mean_score, by_threshold, mean_score
from train.profile import Histogram

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
