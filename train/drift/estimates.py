"""Accuracy without labels, from calibrated scores. Both ways read the scores' histogram and nothing else.

They assume that a score of 0.8 is still right 8 times in 10. Where the world turned and the texts did not, or
where the model is sure of texts it has never seen, that no longer holds, and both are too high. An estimate
is a reason to ask for labels, never their replacement: none is right under every shift (Garg et al. 2022,
section 3).
"""

from collections.abc import Sequence

import numpy as np

from train.drift.shift import Counts, Floats
from train.profile import Histogram


def mean_score(edges: Sequence[float], counts: Counts) -> tuple[float, float]:
    """Mean top score and its variance over the texts, each text at the middle of its bin.

    Args:
        edges: Of the bins, rising, one more than `counts`.
        counts: int64 (bins,), at least one text.
    """
    middles = _middles(edges)
    share = counts / counts.sum()
    mean = float(middles @ share)
    return mean, float(((middles - mean) ** 2) @ share)


def by_mean_score(reference: Histogram, accuracy: float, counts: Counts) -> float:
    """The reference's accuracy less what the mean score has fallen: difference of confidences.

    Guillory et al. 2021, Predicting with Confidence on Unseen Distributions, arXiv:2107.03315, section 3.

    Args:
        reference: Of the top scores.
        accuracy: Measured on the reference's texts, 0..1.
        counts: Of the window, in the reference's bins.
    """
    before, _ = mean_score(reference.edges, np.array(reference.counts))
    now, _ = mean_score(reference.edges, counts)
    return min(1.0, max(0.0, accuracy + now - before))


def by_threshold(reference: Histogram, accuracy: float, counts: Counts) -> float:
    """Average thresholded confidence: the share of scores above a threshold.

    The threshold is the score that as many of the reference's are below as were wrong.

    Garg et al. 2022, Leveraging Unlabeled Data to Predict Out-of-Distribution Performance, arXiv:2201.04234,
    equations 1 and 2, the score being the greatest softmax. Within a bin, texts are taken as spread evenly.

    Args:
        reference: Of the top scores.
        accuracy: Measured on the reference's texts, 0..1.
        counts: Of the window, in the reference's bins.
    """
    below = _cumulative(np.array(reference.counts))
    # Bins in which the sum stands still would leave the threshold open: each is left at its lower edge.
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
