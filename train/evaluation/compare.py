"""One model's accuracy, and the difference of two models on the same texts, with what chance makes of them.

The differences follow from four counts a class: texts that both answer right, only one, only the other,
neither.
Drawing texts with replacement, both models on the same draw, is drawing those counts from a multinomial
distribution: the paired bootstrap (Efron and Tibshirani 1993, chapter 8) without touching a text twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 10_000
"""The least p-value is 1 / 10,001: fine enough to stay significant after a correction for 200 slices."""

_ROUNDING = 1e-12
"""Sums of the same fractions in another order differ by less."""

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and where it lies with the stated confidence."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Differences:
    """Candidate minus the other, in each resample and as measured; one of each for every resample."""

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
    """Count by class who was right: int64 (classes, 4): both, only the candidate, only the other, neither."""
    labels = np.asarray(truth, dtype=np.int64)
    outcome = 2 * (np.asarray(candidate) != labels) + (np.asarray(against) != labels)
    return np.bincount(labels * 4 + outcome, minlength=classes * 4).reshape(classes, 4)


def bootstrap(groups: Sequence[Counts], *, resamples: int = RESAMPLES, seed: int = 0) -> Differences:
    """Resample each group's texts; the differences are means over the groups, every group counting alike.

    A class that a resample happens to have no text of is left out of that resample's balanced accuracy, as
    one that does not occur is left out of the figure.

    Args:
        groups: What `paired_counts` gave of each set; one for a single set.
        resamples: How many.
        seed: The same seed gives the same differences.
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
    """Differences of accuracy and balanced accuracy of each draw: both float64 (draws,)."""
    cells = draws.reshape(len(draws), *like.shape)
    of_class = cells.sum(axis=2)
    won = cells[:, :, 1] - cells[:, :, 2]
    recall = won / np.maximum(of_class, 1)
    accuracy: Floats = won.sum(axis=1) / of_class.sum(axis=1)
    balanced: Floats = recall.sum(axis=1) / (of_class > 0).sum(axis=1)
    return accuracy, balanced


def interval(measured: float, drawn: Floats, confidence: float) -> Interval:
    """The percentile interval of the resamples: as much is left out below as above."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(measured, float(low), float(high))


def wilson(right: int, of: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a share (Wilson 1927, Probable Inference, JASA 22); `of` is at least 1."""
    from scipy import stats  # a second, which `python -m train --help` can do without

    found = stats.binomtest(right, of).proportion_ci(confidence, method="wilson")
    return Interval(right / of, float(found.low), float(found.high))


def balanced_accuracy_interval(
    right: Counts, texts: Counts, confidence: float = 0.95, *, draws: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The interval of one model's balanced accuracy, drawn from the posterior of each class's recall.

    Each recall has Jeffreys' prior, as in `difference_draws`; a bootstrap has no width where all are right.

    Args:
        right: int64 (classes,), right answers of each class.
        texts: int64 (classes,); a class without texts is left out.
        confidence: Of the interval.
        draws: How many.
        seed: The same seed gives the same interval.
    """
    right, texts = right[texts > 0], texts[texts > 0]
    recalls = np.random.default_rng(seed).beta(right + 0.5, texts - right + 0.5, (draws, len(texts)))
    measured = float((right / texts).mean())
    found = interval(measured, recalls.mean(axis=1), confidence)
    # Jeffreys' interval excludes the measured share where that is 0 or 1.
    return Interval(measured, min(found.low, measured), max(found.high, measured))


def difference_draws(
    sample: Counts, selected: Counts | None = None, *, draws: int = RESAMPLES, seed: int = 0
) -> Floats:
    """Where the difference of the balanced accuracies lies, drawn from its posterior distribution.

    For each class, the difference of the recalls is e a - (1 - e) b: e is how often the other one is wrong, a
    how often the candidate is right then, b how often it is wrong where the other one is right. Each has
    Jeffreys' prior, whose intervals cover a binomial share well also where nothing was counted (Brown, Cai
    and DasGupta 2001, Interval Estimation for a Binomial Proportion, Statistical Science 16).

    `selected` are texts that came in because the other one was right or wrong, such as feedback. They say
    nothing of e, and as much of a and b as the sample does: they are weighted by post-stratification (Holt
    and Smith 1979, Post Stratification, JRSS A 142), the strata being class and correctness.

    Args:
        sample: What `paired_counts` gave of a random sample.
        selected: Of texts that were selected by class and by whether the other one is right, if any.
        draws: How many.
        seed: The same seed gives the same draws.

    Returns:
        float64 (draws,); classes without a text in the sample are left out.
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
    """How well the balanced accuracies agree with "not worse by more than `margin`"; small means it is worse.

    McNemar's test for balanced accuracy: if the two are equally good, each text that only one of them answers
    right is a fair coin, so those coins are thrown anew, class by class. The bootstrap's own tail is too thin
    for this: of equally good models, 3 in 20 were called worse on one of 40 slices where 1 in 40 was agreed.

    Args:
        counts: What `paired_counts` gave.
        margin: The loss that is not held against the candidate.
        resamples: Throws; p is never below 1 / (resamples + 1) (Davison and Hinkley 1997, section 4.2).
        seed: The same seed gives the same p.
    """
    present = counts[counts.sum(axis=1) > 0]
    of_class, discordant = present.sum(axis=1), present[:, 1] + present[:, 2]
    heads = np.random.default_rng(seed).binomial(discordant, 0.5, size=(resamples, len(present)))
    thrown = ((2 * heads - discordant) / of_class).mean(axis=1)
    measured = ((present[:, 1] - present[:, 2]) / of_class).mean()
    return (1 + int(np.sum(thrown <= measured + margin + _ROUNDING))) / (1 + resamples)


def mcnemar_p(counts: Counts) -> float:
    """Exact two-sided p-value that the two are right equally often (McNemar 1947).

    Under that hypothesis each text that only one of them answers right is a fair coin.
    """
    only_candidate, only_against = (int(count) for count in counts.sum(axis=0)[1:3])
    discordant = only_candidate + only_against
    tail = sum(math.comb(discordant, k) for k in range(min(only_candidate, only_against) + 1))
    return min(1.0, float(2 * tail / 2**discordant))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust for having asked so often: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.

    Rejecting where the adjusted value is at most alpha keeps the chance of even one wrong rejection at alpha,
    whatever the dependence between the tests.

    Returns:
        Adjusted p-values in the order given.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted
