"""Confidence intervals and tests for one model's accuracy and for the difference of two models.

The difference is measured on the same texts and follows from four counts per class: texts that both models
predict correctly, only one, only the other, neither. Resampling texts with replacement, with the same sample
for both models, is the same as sampling those counts from a multinomial distribution. This is the paired
bootstrap (Efron and Tibshirani 1993, chapter 8) without a pass over the texts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
"""The minimum p-value is 1 / 10,001, which stays significant after a correction for 200 slices."""

_ROUNDING = 1e-12
"""Maximum rounding difference of sums of the same fractions in different orders."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """Value with its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences, candidate minus the other, as measured and in each resample."""

    accuracy: Floats
    balanced_accuracy: Floats
    measured_accuracy: float
    measured_balanced_accuracy: float


def paired_counts(
    truth: Sequence[int] | Counts,
    candidate: Sequence[int] | Counts,
    against: Sequence[int] | Counts,
    classes: int,
) -> Counts:
    """Return int64 (classes, 4): texts correct for both, only the candidate, only the other, neither."""
    labels = np.asarray(truth, dtype=np.int64)
    outcome = 2 * (np.asarray(candidate) != labels) + (np.asarray(against) != labels)
    return np.bincount(labels * 4 + outcome, minlength=classes * 4).reshape(classes, 4)


def bootstrap(groups: Sequence[Counts], *, resamples: int = RESAMPLES, seed: int = 0) -> Differences:
    """Resample each group's texts; the differences are means over the groups, with equal weight.

    If a resample has no text of a class, the class is omitted from that resample's balanced accuracy, as a
    class that does not occur is omitted from the measured one.

    Args:
        groups: Counts of `paired_counts`, one array per set.
        resamples: Number of resamples.
        seed: Random seed; the same seed gives the same differences.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        _differences(rng.multinomial(counts.sum(), counts.ravel() / counts.sum(), size=resamples), counts)
        for counts in groups
    ]
    measured = [_differences(counts.reshape(1, -1), counts) for counts in groups]
    return Differences(
        accuracy=np.mean([accuracy for accuracy, _ in drawn], axis=0),
        balanced_accuracy=np.mean([balanced for _, balanced in drawn], axis=0),
        measured_accuracy=float(np.mean([accuracy[0] for accuracy, _ in measured])),
        measured_balanced_accuracy=float(np.mean([balanced[0] for _, balanced in measured])),
    )


def _differences(draws: Counts, like: Counts) -> tuple[Floats, Floats]:
    """Return the differences of accuracy and balanced accuracy of each draw: both float64 (draws,)."""
    cells = draws.reshape(len(draws), *like.shape)
    of_class = cells.sum(axis=2)
    won = cells[:, :, 1] - cells[:, :, 2]
    recall = won / np.maximum(of_class, 1)
    accuracy: Floats = won.sum(axis=1) / of_class.sum(axis=1)
    balanced: Floats = recall.sum(axis=1) / (of_class > 0).sum(axis=1)
    return accuracy, balanced


def interval(measured: float, drawn: Floats, confidence: float) -> Interval:
    """Return the percentile interval of the resamples, with equal tails."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(measured, float(low), float(high))


def wilson(right: int, of: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's interval of a share (Wilson 1927, Probable Inference, JASA 22); `of` is at least 1."""
    from scipy import stats  # imported here: it takes a second, which would delay `--help`

    found = stats.binomtest(right, of).proportion_ci(confidence, method="wilson")
    return Interval(right / of, float(found.low), float(found.high))


def balanced_accuracy_interval(
    right: Counts, texts: Counts, confidence: float = 0.95, *, draws: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return one model's balanced accuracy with its interval, from the posterior of each class's recall.

    Each recall has Jeffreys' prior, as in `difference_draws`; a bootstrap interval has no width if all
    predictions are correct.

    Args:
        right: int64 (classes,), correct predictions of each class.
        texts: int64 (classes,); a class without texts is omitted.
        confidence: Confidence level of the interval.
        draws: Number of draws.
        seed: Random seed; the same seed gives the same interval.
    """
    right, texts = right[texts > 0], texts[texts > 0]
    recalls = np.random.default_rng(seed).beta(right + 0.5, texts - right + 0.5, (draws, len(texts)))
    measured = float((right / texts).mean())
    found = interval(measured, recalls.mean(axis=1), confidence)
    # Jeffreys' interval excludes a measured share of 0 or 1.
    return Interval(measured, min(found.low, measured), max(found.high, measured))


def difference_draws(
    sample: Counts, selected: Counts | None = None, *, draws: int = RESAMPLES, seed: int = 0
) -> Floats:
    """Return draws from the posterior distribution of the difference of the balanced accuracies.

    For each class, the difference of the recalls is e a - (1 - e) b: e is the error rate of the other model,
    a the rate at which the candidate is correct where the other one is wrong, and b the rate at which it is
    wrong where the other one is correct. Each has Jeffreys' prior, whose intervals have a good coverage for a
    binomial share even with a count of 0 (Brown, Cai and DasGupta 2001, Interval Estimation for a Binomial
    Proportion, Statistical Science 16).

    `selected` are texts whose selection depends on the correctness of the other model, such as feedback. They
    contain no information about e, and the same about a and b as the sample: they are weighted by
    post-stratification (Holt and Smith 1979, Post Stratification, JRSS A 142), with class and correctness as
    strata.

    Args:
        sample: Counts of `paired_counts` of a random sample.
        selected: Counts of texts that were selected by class and by correctness of the other model, if any.
        draws: Number of draws.
        seed: Random seed; the same seed gives the same draws.

    Returns:
        float64 (draws,); classes without a text in the sample are omitted.
    """
    rng = np.random.default_rng(seed)
    both = sample if selected is None else sample + selected
    recalls = []
    for of_sample, of_both in zip(sample, both, strict=True):
        if not of_sample.sum():
            continue
        wrong = rng.beta(of_sample[1] + of_sample[3] + 0.5, of_sample[0] + of_sample[2] + 0.5, draws)
        won = rng.beta(of_both[1] + 0.5, of_both[3] + 0.5, draws)
        lost = rng.beta(of_both[2] + 0.5, of_both[0] + 0.5, draws)
        recalls.append(wrong * won - (1 - wrong) * lost)
    found: Floats = np.mean(recalls, axis=0)
    return found


def p_not_worse(counts: Counts, margin: float, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the p-value of "not worse by more than `margin`" for the balanced accuracies.

    The test is McNemar's test for balanced accuracy: if the two models are equally good, the one that is
    correct, among texts that only one predicts correctly, is random with probability 1/2; these outcomes are
    resampled class by class. The tail of the bootstrap is too thin for this purpose: of equally good models,
    3 in 20 were found worse on one of 40 slices, where 1 in 40 was nominal.

    Args:
        counts: Counts of `paired_counts`.
        margin: Accepted loss of balanced accuracy, a fraction.
        resamples: Number of resamples; p is at least 1 / (resamples + 1) (Davison and Hinkley 1997, section
            4.2).
        seed: Random seed; the same seed gives the same p-value.
    """
    present = counts[counts.sum(axis=1) > 0]
    of_class, discordant = present.sum(axis=1), present[:, 1] + present[:, 2]
    heads = np.random.default_rng(seed).binomial(discordant, 0.5, size=(resamples, len(present)))
    thrown = ((2 * heads - discordant) / of_class).mean(axis=1)
    measured = ((present[:, 1] - present[:, 2]) / of_class).mean()
    return (1 + int(np.sum(thrown <= measured + margin + _ROUNDING))) / (1 + resamples)


def mcnemar_p(counts: Counts) -> float:
    """Return the exact two-sided p-value that both have the same accuracy (McNemar 1947).

    Under that hypothesis, each text that only one model predicts correctly has probability 1/2 for either.
    """
    only_candidate, only_against = (int(count) for count in counts.sum(axis=0)[1:3])
    discordant = only_candidate + only_against
    tail = sum(math.comb(discordant, k) for k in range(min(only_candidate, only_against) + 1))
    return min(1.0, float(2 * tail / 2**discordant))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    Rejecting if the adjusted value is at most alpha limits the probability of at least one wrong rejection to
    alpha, for any dependence between the tests.

    Returns:
        Adjusted p-values in the given order.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted
