"""Calibration: expected calibration error, reliability curve, and temperature scaling.

Temperature scaling calibrates scores by a single parameter: Guo et al. 2017, arXiv:1706.04599.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15
"""Number of equal-width bins of the top score, as in Guo et al. 2017, On Calibration of Modern Neural
Networks, arXiv:1706.04599, section 2 and the tables of section 4."""

_LEAST_SCORE = 1e-12
"""Minimum score of the true label: with 0, one text would make the negative log-likelihood infinite."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Texts whose top score is above `low` and at most `high`; the first bin also contains 0."""

    low: float
    high: float
    texts: int
    mean_score: float
    """Mean score of the predicted label; 0 without texts."""
    accuracy: float
    """Accuracy; 0 without texts. It is equal to the mean score if the scores are calibrated."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration of the scores on one set."""

    error: float
    """Expected calibration error: mean over the texts of |accuracy - mean score| of their bin. It is above 0
    on a small set even for perfect scores, so compare models only on the same texts."""
    negative_log_likelihood: float
    """Mean of -ln(score of the true label)."""
    bins: tuple[Bin, ...]
    """All points of the reliability curve, in order."""


def calibration(
    scores: npt.NDArray[np.float32], truth: Sequence[int] | npt.NDArray[np.int64], *, bins: int = BINS
) -> Calibration:
    """Compute the calibration of scores.

    Args:
        scores: Probabilities, float32 (texts, labels), at least one text.
        truth: Index of each text's label.
        bins: Number of bins of equal width between 0 and 1.
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


_GOLDEN = (5**0.5 - 1) / 2


def negative_log_likelihood(
    logits: npt.NDArray[np.float32], labels: Sequence[int], temperature: float
) -> float:
    """Return the mean over the texts of -log p(label), p the softmax of logits / temperature.

    Args:
        logits: float32 (texts, labels).
        labels: Index of the true label of each text.
        temperature: Temperature, > 0.
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    log_p = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), list(labels)].mean())


def fit_temperature(
    logits: Sequence[npt.NDArray[np.float32]],
    labels: Sequence[Sequence[int]],
    *,
    low: float = 0.1,
    high: float = 10.0,
) -> float:
    """Return the temperature with the minimum mean negative log-likelihood, with equal weight for each set.

    The loss is convex in 1 / temperature, so it has one minimum, which a golden-section search finds.

    Args:
        logits: One array (texts, labels) per set.
        labels: True labels of each set.
        low: Minimum temperature.
        high: Maximum temperature.
    """

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        pairs = zip(logits, labels, strict=True)
        return float(np.mean([negative_log_likelihood(rows, truth, temperature) for rows, truth in pairs]))

    left, right = float(np.log(low)), float(np.log(high))
    while right - left > 1e-4:
        inner_left, inner_right = right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)
        if loss(inner_left) < loss(inner_right):
            right = inner_right
        else:
            left = inner_left
    return float(np.exp((left + right) / 2))
