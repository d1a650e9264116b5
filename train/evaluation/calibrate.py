"""Temperature scaling, which calibrates scores by a single parameter: Guo et al. 2017, arXiv:1706.04599."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

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
