"""Whether scores mean what they say: calibration error, the reliability curve's points, likelihood loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15
"""Equal-width bins of the top score, as in Guo et al. 2017, On Calibration of Modern Neural Networks,
arXiv:1706.04599, section 2 and the tables of section 4."""

_LEAST_SCORE = 1e-12
"""A score of 0 for the true label would make the likelihood loss infinite: one text would hide all others."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The texts whose top score is above `low` and at most `high`; the first bin also has 0."""

    low: float
    high: float
    texts: int
    mean_score: float
    """Of the answered label; 0 without texts."""
    accuracy: float
    """Share of right answers; 0 without texts. Calibrated scores have the two alike."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far the scores of one set are from what they say."""

    error: float
    """Expected calibration error: mean over the texts of |accuracy - mean score| of their bin. A small
    set shows some even where scores are perfect: compare it between models on the same texts."""
    negative_log_likelihood: float
    """Mean of -ln(score of the true label)."""
    bins: tuple[Bin, ...]
    """The reliability curve's points, all of them, in order."""


def calibration(
    scores: npt.NDArray[np.float32], truth: Sequence[int] | npt.NDArray[np.int64], *, bins: int = BINS
) -> Calibration:
    """Hold scores against the truth.

    Args:
        scores: Probabilities, float32 (texts, labels), at least one text.
        truth: Index of each text's label.
        bins: How many, of equal width between 0 and 1.
    """
    exact = scores.astype(np.float64)
    top = exact.max(axis=1)
    right = exact.argmax(axis=1) == np.asarray(truth)
    places = np.clip(np.ceil(top * bins).astype(np.int64) - 1, 0, bins - 1)
    texts = np.bincount(places, minlength=bins)
    filled = np.maximum(texts, 1)
    mean_score = np.bincount(places, weights=top, minlength=bins) / filled
    accuracy = np.bincount(places, weights=right, minlength=bins) / filled
    of_truth = exact[np.arange(len(exact)), np.asarray(truth)]
    return Calibration(
        error=float((texts * np.abs(accuracy - mean_score)).sum() / len(exact)),
        negative_log_likelihood=float(-np.log(np.maximum(of_truth, _LEAST_SCORE)).mean()),
        bins=tuple(
            Bin(i / bins, (i + 1) / bins, int(texts[i]), float(mean_score[i]), float(accuracy[i]))
            for i in range(bins)
        ),
    )
