"""Checks of an entire window: each is a pure function of reference and traffic that measures one change."""

import math

import numpy as np
from scipy import stats

from train.drift.mmd import Embedded, discrepancy
from train.drift.reference import DriftReference
from train.drift.results import Measure
from train.drift.statistics import (
    Counts,
    by_mean_score,
    coarsen,
    fall_p,
    homogeneity_p,
    mean_score,
    psi,
    rate_rise_p,
    shares,
    total_variation,
)
from train.drift.thresholds import DriftThresholds
from train.drift.window import WindowStatistics
from train.profile import Histogram


def embeddings(reference: Embedded, current: Embedded, thresholds: DriftThresholds) -> Measure | None:
    """Measure covariate shift of the embeddings; return None if no label has enough texts on both sides."""
    found = discrepancy(reference, current)
    if found is None:
        return None
    return Measure(
        check="embeddings",
        kind="covariate",
        effect=found.squared,
        bound=thresholds.covariate.mmd,
        retrain_bound=thresholds.covariate.retrain_mmd,
        p=found.p,
        claim="the distribution of the embeddings has shifted",
        measured=f"MMD² between the embeddings of {len(current.answers):,} logged texts and "
        f"{len(reference.answers):,} reference texts",
    )


def lengths(reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds) -> Measure:
    """Measure the shift of the text lengths."""
    of_reference = reference.profile.token_lengths
    effect, p = _moved(of_reference, traffic.lengths)
    before, now = (
        _median(of_reference.edges, np.array(of_reference.counts)),
        _median(of_reference.edges, traffic.lengths),
    )
    return Measure(
        check="lengths",
        kind="covariate",
        effect=effect,
        bound=thresholds.covariate.length_psi,
        p=p,
        claim="the distribution of the text lengths has shifted",
        measured=f"the median length is about {now:.0f} tokens ({before:.0f} in the reference)",
    )


def unknown_tokens(
    reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds
) -> Measure:
    """Measure the rise of the unknown-token rate: words, symbols or scripts outside the vocabulary."""
    before, now = reference.profile.unknown_token_rate, traffic.tokens.rate
    return Measure(
        check="unknown tokens",
        kind="covariate",
        effect=now - before,
        bound=thresholds.covariate.unknown_rise,
        p=rate_rise_p(traffic.tokens, before, reference.profile.texts),
        claim="the unknown-token rate has risen",
        measured=f"{now:.2%} of the tokens are unknown to the tokenizer ({before:.2%} in the reference)",
    )


def label_shares(
    reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds
) -> Measure:
    """Measure the shift of the predicted labels."""
    profile = reference.profile
    before = np.array([round(profile.predicted_shares[label] * profile.texts) for label in traffic.labels])
    moved = shares(traffic.answers) - shares(before)
    risen = int(moved.argmax())
    return Measure(
        check="label shares",
        kind="prediction",
        effect=total_variation(before, traffic.answers),
        bound=thresholds.prediction.label_share,
        p=homogeneity_p(before, traffic.answers),
        claim="the distribution of the predicted labels has shifted",
        measured=f"{shares(traffic.answers)[risen]:.1%} of the predictions are {traffic.labels[risen]} "
        f"({shares(before)[risen]:.1%} in the reference)",
    )


def scores(reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds) -> Measure:
    """Measure the shift of the scores."""
    effect, p = _moved(reference.profile.top_scores, traffic.top_scores)
    before, _ = mean_score(reference.profile.top_scores.edges, np.array(reference.profile.top_scores.counts))
    now, _ = mean_score(reference.profile.top_scores.edges, traffic.top_scores)
    return Measure(
        check="scores",
        kind="prediction",
        effect=effect,
        bound=thresholds.prediction.score_psi,
        p=p,
        claim="the distribution of the scores has shifted",
        measured=f"the mean score is {now:.3f} ({before:.3f} in the reference)",
    )


def accuracy(
    reference: DriftReference, now: float, right: int, judged: int, what: str, thresholds: DriftThresholds
) -> Measure:
    """Measure the fall of the accuracy. Reference and window need at least one labelled text each.

    Args:
        reference: Reference of the version.
        now: Accuracy in the window, 0..1.
        right: Number of correct predictions in a simple random sample of equal precision.
        judged: Size of that sample.
        what: Description of the labelled texts, which follows the figure.
        thresholds: Limits.
    """
    before = reference.right / reference.judged
    fall = thresholds.accuracy.fall
    return Measure(
        check="accuracy",
        kind="accuracy",
        effect=before - now,
        bound=fall,
        retrain_bound=fall,
        p=fall_p(right, judged, reference.right, reference.judged),
        claim="the accuracy has fallen",
        measured=f"the accuracy is {now:.1%} {what} ({before:.1%} on the held-out texts)",
    )


def estimated_accuracy(
    reference: DriftReference, traffic: WindowStatistics, thresholds: DriftThresholds
) -> Measure:
    """Measure the fall of the mean score, which estimates the fall of the accuracy without labels."""
    of_reference = reference.profile.top_scores
    before, variance_before = mean_score(of_reference.edges, np.array(of_reference.counts))
    now, variance = mean_score(of_reference.edges, traffic.top_scores)
    deviation = math.sqrt(variance_before / reference.profile.texts + variance / traffic.rows)
    estimate = by_mean_score(of_reference, reference.accuracy or before, traffic.top_scores)
    fall = thresholds.accuracy.estimated_fall
    return Measure(
        check="estimated accuracy",
        kind="accuracy",
        effect=before - now,
        bound=fall,
        retrain_bound=fall,
        p=float(stats.norm.sf((before - now) / deviation)) if deviation > 0 else 1.0,
        claim="the scores indicate a lower accuracy",
        measured=f"the estimated accuracy is {estimate:.1%}, from a mean score of {now:.3f} "
        f"({before:.3f} in the reference)",
    )


def _moved(reference: Histogram, current: Counts) -> tuple[float, float]:
    """Return the PSI and p-value of a histogram."""
    coarse = coarsen(np.array(reference.counts), current)
    return psi(*coarse), homogeneity_p(*coarse)


def _median(edges: tuple[float, ...], counts: Counts) -> float:
    """Return the median, with the texts of a bin taken as spread evenly."""
    below = np.r_[0, np.cumsum(counts)] / counts.sum()
    return float(np.interp(0.5, below, edges))
