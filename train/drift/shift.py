"""How far counts have moved: the population stability index, total variation, and the chi-squared test."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LEAST_FRACTION = 0.05
"""Of the reference in a bin. With windows of 100 a bin then expects five: what the chi-squared test needs
(Cochran 1954, Some Methods for Strengthening the Common chi-squared Tests)."""


def coarsen(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """Join neighbouring bins until each has a twentieth of the reference.

    Args:
        reference: Counts by bin, int64 (bins,), at least one text.
        current: Of the same bins.

    Returns:
        Both, with the same joins; one bin at least.
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
    """Population stability index: sum of (q - p) ln(q / p) over the bins, p and q the shares of each.

    Symmetric, 0 for equal shares. Siddiqi 2006, Credit Risk Scorecards, chapter 11: below 0.1 nothing to
    speak of, above 0.25 a shift. Half a text is added to every bin, so that an empty one is not infinite.

    Args:
        reference: Counts by bin, int64 (bins,).
        current: Of the same bins.
    """
    p = (reference + 0.5) / (reference + 0.5).sum()
    q = (current + 0.5) / (current + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def total_variation(reference: Counts, current: Counts) -> float:
    """Half the sum of the absolute differences of the shares, in 0..1: what share of the texts has moved."""
    return float(np.abs(reference / reference.sum() - current / current.sum()).sum() / 2)


def homogeneity_p(reference: Counts, current: Counts) -> float:
    """P-value that both were drawn from the same shares: Pearson's chi-squared test of 2 x bins counts.

    Bins that neither has anything in are left out; a table of one bin gives 1.
    """
    table = np.stack([reference, current])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def shares(counts: Sequence[int] | Counts) -> Floats:
    """Counts as shares of their sum, float64, which is not 0."""
    found: Floats = np.asarray(counts) / np.sum(counts)
    return found
