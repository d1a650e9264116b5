"""Measures of distribution shift: population stability index, total variation, and chi-squared test."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

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
