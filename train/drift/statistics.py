"""Statistics of drift: distribution shift, rates with their p-values, and accuracy estimates without labels.

The estimates use only the histogram of calibrated scores. They assume that the scores stay calibrated: that a
score of 0.8 is still correct in 8 of 10 cases. If the meaning of the texts changes while the texts do not, or
if the model is confident about unfamiliar texts, the assumption fails and both estimates are too high. An
estimate is a reason to collect labels and does not replace them: no estimator is correct under every shift
(Garg et al. 2022, section 3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from train.profile import Histogram

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LEAST_FRACTION = 0.05
"""Minimum share of the reference in a bin. The expected count of a bin is then five for a window of 100, the
minimum for the chi-squared test (Cochran 1954, Some Methods for Strengthening the Common chi-squared
Tests)."""


def coarsen(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """Merge adjacent bins until each has at least 5 % of the reference.

    Args:
        reference: Counts by bin, int64 (bins,), at least one text.
        current: Counts of the same bins.

    Returns:
        Both counts with the same merges; at least one bin.
    """
    least = _LEAST_FRACTION * reference.sum()
    begins, filled = [0], 0
    for place, count in enumerate(reference[:-1].tolist()):
        filled += count
        if filled >= least:
            begins.append(place + 1)
            filled = 0
    if len(begins) > 1 and reference[begins[-1] :].sum() < least:
        begins.pop()
    return np.add.reduceat(reference, begins), np.add.reduceat(current, begins)


def psi(reference: Counts, current: Counts) -> float:
    """Return the population stability index: sum of (q - p) ln(q / p) over the bins, p and q the shares.

    The index is symmetric, and 0 for equal shares. Siddiqi 2006, Credit Risk Scorecards, chapter 11: no
    significant change below 0.1, a shift above 0.25. Half a text is added to every bin, so that the index
    stays finite with an empty bin.

    Args:
        reference: Counts by bin, int64 (bins,).
        current: Counts of the same bins.
    """
    p = (reference + 0.5) / (reference + 0.5).sum()
    q = (current + 0.5) / (current + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def total_variation(reference: Counts, current: Counts) -> float:
    """Return half the sum of the absolute differences of the shares, 0..1: the share of texts that moved."""
    return float(np.abs(reference / reference.sum() - current / current.sum()).sum() / 2)


def homogeneity_p(reference: Counts, current: Counts) -> float:
    """Return the p-value that both have the same shares: Pearson's chi-squared test of 2 x bins counts.

    Bins that are empty in both are ignored; a table of one bin gives 1.
    """
    table = np.stack([reference, current])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def shares(counts: Sequence[int] | Counts) -> Floats:
    """Return the counts divided by their sum, float64; the sum must not be 0."""
    found: Floats = np.asarray(counts) / np.sum(counts)
    return found


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Sums over the texts for a ratio and its variance: t tokens per text, u of them unknown."""

    texts: int = 0
    tokens: int = 0
    unknown: int = 0
    tokens_squared: int = 0
    unknown_squared: int = 0
    product: int = 0

    def __add__(self, other: "TokenSums") -> "TokenSums":
        return TokenSums(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.unknown + other.unknown,
            self.tokens_squared + other.tokens_squared,
            self.unknown_squared + other.unknown_squared,
            self.product + other.product,
        )

    @property
    def rate(self) -> float:
        """Return the share of the tokens that are unknown, 0..1."""
        return self.unknown / self.tokens

    @property
    def rate_variance(self) -> float:
        """Return the variance of `rate`, with texts as the unit: an unknown name recurs in its text.

        Cochran 1977, Sampling Techniques, equation 6.13, without the correction for finite populations.
        """
        rate, n = self.rate, self.texts
        residuals = self.unknown_squared - 2 * rate * self.product + rate**2 * self.tokens_squared
        return residuals * n / max(n - 1, 1) / self.tokens**2


def rate_rise_p(current: TokenSums, reference_rate: float, reference_texts: int) -> float:
    """Return the one-sided p-value that the unknown rate has not risen, by the normal distribution.

    The reference stores its rate without a variance, so its texts are assumed to vary like those of the
    window. If the window has no variance, any rise is significant.

    Args:
        current: Sums of the window.
        reference_rate: Rate of the reference, 0..1.
        reference_texts: Number of texts of that rate.
    """
    rise = current.rate - reference_rate
    deviation = math.sqrt(current.rate_variance * (1 + current.texts / reference_texts))
    if deviation == 0:
        return 0.0 if rise > 0 else 1.0
    return float(stats.norm.sf(rise / deviation))


def fisher_p(count: int, of: int, other_count: int, other_of: int) -> float:
    """Return Fisher's exact two-sided p-value that two shares are the same (Fisher 1935)."""
    return float(stats.fisher_exact(_table(count, of, other_count, other_of)).pvalue)


def fall_p(right: int, of: int, right_before: int, of_before: int) -> float:
    """Return Fisher's exact one-sided p-value that a share has not fallen."""
    return float(stats.fisher_exact(_table(right, of, right_before, of_before), alternative="less").pvalue)


def _table(count: int, of: int, other_count: int, other_of: int) -> list[list[int]]:
    return [[count, of - count], [other_count, other_of - other_count]]


def mean_score(edges: Sequence[float], counts: Counts) -> tuple[float, float]:
    """Return the mean top score and its variance over the texts, with each text at the middle of its bin.

    Args:
        edges: Edges of the bins, rising, one more than `counts`.
        counts: int64 (bins,), at least one text.
    """
    middles = _middles(edges)
    share = counts / counts.sum()
    mean = float(middles @ share)
    return mean, float(((middles - mean) ** 2) @ share)


def by_mean_score(reference: Histogram, accuracy: float, counts: Counts) -> float:
    """Estimate the accuracy as the reference's accuracy minus the fall of the mean score.

    The method is the difference of confidences: Guillory et al. 2021, Predicting with Confidence on Unseen
    Distributions, arXiv:2107.03315, section 3.

    Args:
        reference: Histogram of the reference's top scores.
        accuracy: Accuracy on the reference's texts, 0..1.
        counts: Counts of the window, in the reference's bins.
    """
    before, _ = mean_score(reference.edges, np.array(reference.counts))
    now, _ = mean_score(reference.edges, counts)
    return min(1.0, max(0.0, accuracy + now - before))


def by_threshold(reference: Histogram, accuracy: float, counts: Counts) -> float:
    """Estimate the accuracy by average thresholded confidence: the share of scores above a threshold.

    The threshold is chosen so that the share of the reference's scores below it equals the reference's error
    rate.

    Source: Garg et al. 2022, Leveraging Unlabeled Data to Predict Out-of-Distribution Performance,
    arXiv:2201.04234, equations 1 and 2, with the greatest softmax as score. Within a bin, texts are taken as
    spread evenly.

    Args:
        reference: Histogram of the reference's top scores.
        accuracy: Accuracy on the reference's texts, 0..1.
        counts: Counts of the window, in the reference's bins.
    """
    below = _cumulative(np.array(reference.counts))
    # In an empty bin the sum is constant and the threshold is not unique, so the lower edge of the bin is
    # used.
    rises = np.r_[True, np.diff(below) > 0]
    threshold = np.interp(1 - accuracy, below[rises], np.array(reference.edges)[rises])
    return float(1 - np.interp(threshold, reference.edges, _cumulative(counts)))


def _middles(edges: Sequence[float]) -> Floats:
    borders = np.array(edges)
    middles: Floats = (borders[1:] + borders[:-1]) / 2
    return middles


def _cumulative(counts: Counts) -> Floats:
    found: Floats = np.r_[0, np.cumsum(counts)] / counts.sum()
    return found
