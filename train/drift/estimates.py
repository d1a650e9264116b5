"""Accuracy estimates without labels, from calibrated scores. Both methods use only the scores' histogram.

They assume that the scores stay calibrated: that a score of 0.8 is still correct in 8 of 10 cases. If the
meaning of the texts changes while the texts do not, or if the model is confident about unfamiliar texts, the
assumption fails and both estimates are too high. An estimate is a reason to collect labels and does not
replace them: no estimator is correct under every shift (Garg et al. 2022, section 3).
"""

from collections.abc import Sequence

import numpy as np

from train.drift.statistics import Counts, Floats
from train.profile import Histogram


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
