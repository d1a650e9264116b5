"""Gate: the decision whether a candidate may replace the champion, from an evaluation, with reasons.

It has three results: passed, refused, and not enough evidence, with the number of labelled texts that are
missing. Every check is evaluated, also after the first one has failed, and all reasons are reported at once.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from train.evaluation.compare import (
    Counts,
    Floats,
    Interval,
    bootstrap,
    difference_draws,
    holm,
    interval,
    p_not_worse,
)
from train.evaluation.results import Difference, Evaluation, SetResult
from train.evaluation.thresholds import GateThresholds
from train.evaluation.thresholds import Overall as OverallBounds

Relation = Literal[">=", "<=", ">"]
Answer = Literal["passed", "refused", "not enough evidence"]


@dataclass(frozen=True, slots=True)
class Check:
    """Comparison of a value with a limit; `value` and `limit` are fractions, not percentage points."""

    name: str
    value: float
    relation: Relation
    limit: float
    passed: bool
    measured: str
    """Formatted value."""
    bound: str
    reason: str
    """Message if the check fails."""
    undecided: bool = False
    """Whether the check failed, but may pass with more evidence."""

    @property
    def outcome(self) -> str:
        """Return one word for a table."""
        return "pass" if self.passed else "OPEN" if self.undecided else "FAIL"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of the gate; it passes if every check passes."""

    checks: tuple[Check, ...]

    @property
    def answer(self) -> Answer:
        """Return "not enough evidence" if every failed check is undecided, and "refused" otherwise."""
        if self.passed:
            return "passed"
        failed = (check for check in self.checks if not check.passed)
        return "not enough evidence" if all(check.undecided for check in failed) else "refused"

    @property
    def passed(self) -> bool:
        """Return whether the candidate passes the gate."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return the messages of the failed checks; empty if all passed."""
        return tuple(check.reason for check in self.checks if not check.passed)


def decide(evaluation: Evaluation, thresholds: GateThresholds) -> Verdict:
    """Evaluate a candidate; the same arguments give the same verdict.

    Args:
        evaluation: Evaluation of the candidate against the champion, or of the candidate alone.
        thresholds: Limits.
    """
    if evaluation.against is None:
        first = (_evidence, _first, _calibration)
        return Verdict(tuple(check for judge in first for check in judge(evaluation, thresholds)))
    judges = (_evidence, _overall, _parts, _calibration, _speed, _behaviour)
    checks = [check for judge in judges for check in judge(evaluation, thresholds)]
    return Verdict((same_labels(evaluation.candidate.labels, evaluation.against.labels), *checks))


def same_labels(candidate: Sequence[str], champion: Sequence[str]) -> Check:
    """Check that both have the same label names, which clients use; their order may differ."""
    lacking = [label for label in champion if label not in candidate]
    new = [label for label in candidate if label not in champion]
    faults = [f"lacks {', '.join(lacking)}"] if lacking else []
    faults += [f"adds {', '.join(new)}"] if new else []
    return _check(
        "labels that differ from the champion's",
        len(lacking) + len(new),
        "<=",
        0,
        _count,
        f"the candidate's labels differ from the champion's: it {' and '.join(faults)}; clients rely on the "
        "labels, so register it as another model or train it with the champion's labels",
    )


@dataclass(frozen=True, slots=True)
class PairedSample:
    """Paired counts of a random sample of texts, and of feedback on the same traffic, if any."""

    sample: Counts
    feedback: Counts | None = None

    @property
    def texts(self) -> int:
        """Return the number of texts of the sample."""
        return int(self.sample.sum())


def paired_sample(evaluation: Evaluation, of_set: SetResult) -> PairedSample | None:
    """Return a set's counts, for an audit sample with the feedback on its traffic; None for feedback itself.

    The sets `audit-NAME` and `feedback-NAME` belong together.
    """
    if of_set.role == "feedback" or of_set.difference is None:
        return None
    feedback = [
        of_labels(other.difference, evaluation.labels)
        for other in evaluation.sets
        if other.role == "feedback" and other.difference is not None and _stem(other) == _stem(of_set)
    ]
    paired = feedback[0] if feedback and of_set.role == "audit" else None
    return PairedSample(of_labels(of_set.difference, evaluation.labels), paired)


def _stem(of_set: SetResult) -> str:
    return of_set.name.partition("-")[2]


def _evidence(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    sampled = _sampled(evaluation)
    texts = sum(of_set.texts for of_set in sampled)
    minimum = thresholds.evidence.min_texts
    yield _check(
        "evidence: texts",
        texts,
        ">=",
        minimum,
        _count,
        f"{texts:,} texts are not enough evidence; expected at least {minimum:,}: label {minimum - texts:,} "
        "more",
        undecided=True,
    )
    by_label = {
        label: sum(of_set.candidate.figures.class_texts.get(label, 0) for of_set in sampled)
        for label in evaluation.labels
    }
    rarest = min(by_label, key=lambda label: by_label[label])
    minimum = thresholds.evidence.min_label_texts
    yield _check(
        f"evidence: texts of {rarest}",
        by_label[rarest],
        ">=",
        minimum,
        _count,
        f"{by_label[rarest]:,} texts with the label {rarest} are not enough evidence; expected at least "
        f"{minimum:,}: label {minimum - by_label[rarest]:,} more",
        undecided=True,
    )


def _sampled(evaluation: Evaluation) -> list[SetResult]:
    """Return the sets that are random samples."""
    return [of_set for of_set in evaluation.sets if of_set.role != "feedback"]


def _first(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    measured, chance = evaluation.average.candidate.balanced_accuracy, 1 / len(evaluation.labels)
    floor = chance + thresholds.first.above_chance
    yield _check(
        "balanced accuracy, mean of the sets",
        measured,
        ">=",
        floor,
        _thousandths,
        f"the balanced accuracy is {measured:.3f}; expected at least {floor:.3f} of the first champion "
        f"(a constant prediction has {chance:.3f})",
    )
    maximum = thresholds.first.max_minimum_failures
    for test in evaluation.behaviour.tests:
        if test.kind == "minimum":
            yield _check(
                f"behaviour: {test.name}, failures",
                test.candidate.rate,
                "<=",
                maximum,
                _percent,
                f"{test.candidate.rate:.1%} of the cases of the behavioural test {test.name!r} fail; "
                f"expected at most {maximum:.1%}. {test.claim}",
            )


def _overall(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    """Check non-inferiority: the confidence interval of the difference must be above -margin.

    The check is the interval inclusion rule with three results: ICH E9 (1998), Statistical Principles for
    Clinical Trials, section 3.3.2. The number of texts follows from the normal approximation (Chow, Shao and
    Wang 2008, Sample Size Calculations in Clinical Research).
    """
    groups = [group for of_set in evaluation.sets if (group := paired_sample(evaluation, of_set))]
    if not groups:
        return
    bounds = thresholds.overall
    drawn = mean_draws(groups, evaluation)
    difference = interval_of(drawn, bounds.confidence)
    shown = in_points(difference)
    worse = difference.high < -bounds.margin
    texts = sum(group.texts for group in groups)
    more = more_texts(texts, drawn, -bounds.margin, bounds)
    if worse:
        reason = (
            f"significantly worse overall: the mean balanced accuracy of the sets changed by {shown} "
            f"points, and the entire interval is below {_points(-bounds.margin)}"
        )
    else:
        reason = (
            "not enough evidence of non-inferiority: the mean balanced accuracy of the sets changed by "
            f"{shown} points; expected a lower end above {_points(-bounds.margin)}; about {more:,} more "
            f"labelled texts than these {texts:,} are necessary"
        )
    yield _check(
        "overall: lower end of the difference, points",
        difference.low,
        ">=",
        -bounds.margin,
        _points,
        reason,
        measured=shown,
        undecided=not worse,
    )


def mean_draws(groups: Sequence[PairedSample], evaluation: Evaluation) -> Floats:
    """Return draws of the mean difference over the groups, with equal weight."""
    draws: Floats = np.mean(
        [
            difference_draws(
                group.sample, group.feedback, draws=evaluation.resamples, seed=evaluation.seed + number
            )
            for number, group in enumerate(groups)
        ],
        axis=0,
    )
    return draws


def interval_of(drawn: Floats, confidence: float) -> Interval:
    """Return mean and ends, each end with this one-sided confidence."""
    low, high = np.quantile(drawn, [1 - confidence, confidence])
    return Interval(float(drawn.mean()), float(low), float(high))


def more_texts(texts: int, drawn: Floats, bound: float, bounds: OverallBounds) -> int:
    """Return the number of additional texts for a difference above `bound` with the power of `bounds`.

    The expected difference is 0 if a margin is allowed, or the measured one if that is closer to the bound,
    but no closer than half the margin.
    """
    distance = max(min(float(drawn.mean()) - bound, bounds.margin), bounds.margin / 2)
    deviations = float(stats.norm.ppf(bounds.confidence) + stats.norm.ppf(bounds.power))
    needed = texts * (float(drawn.std()) * deviations / distance) ** 2
    return max(1, math.ceil(needed - texts))


def _parts(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    """Check every set and slice that is large enough, with Holm's correction for all of them."""
    margin, minimum = thresholds.parts.margin, thresholds.parts.min_texts
    judged = [(name, counts) for name, counts in _paired(evaluation) if counts.sum() >= minimum]
    drawn = [
        bootstrap([counts], resamples=evaluation.resamples, seed=evaluation.seed) for _, counts in judged
    ]
    adjusted = holm(
        [
            p_not_worse(counts, margin, resamples=evaluation.resamples, seed=evaluation.seed)
            for _, counts in judged
        ]
    )
    for (name, counts), of, p in zip(judged, drawn, adjusted, strict=True):
        shown = in_points(
            interval(of.measured_balanced_accuracy, of.balanced_accuracy, evaluation.confidence)
        )
        yield _check(
            f"{name}: p-value of no loss",
            p,
            ">",
            thresholds.significance,
            lambda value: f"{value:.3g}",
            f"significantly worse on {name} ({counts.sum():,} texts): the balanced accuracy changed by "
            f"{shown} points; the p-value of no loss beyond {_points(-margin)} is {p:.2g}, corrected for "
            f"{len(judged)} sets and slices (Holm)",
            measured=f"{shown}  {p:.3g}",
        )


def _calibration(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    sampled = _sampled(evaluation)
    if not sampled:
        return
    error = statistics.fmean(of_set.candidate.calibration.error for of_set in sampled)
    maximum = thresholds.calibration.max_error
    yield _check(
        "calibration error, mean of the sets",
        error,
        "<=",
        maximum,
        _thousandths,
        f"the calibration error is {error:.3f}; expected at most {maximum:.3f}; fit the temperature again on "
        "held-out texts",
    )
    against = [of_set.against.calibration.error for of_set in sampled if of_set.against]
    if against:
        champion, maximum = statistics.fmean(against), thresholds.calibration.max_rise
        yield _check(
            "calibration error above the champion's",
            error - champion,
            "<=",
            maximum,
            lambda value: f"{value:+.3f}",
            f"the calibration error is {error:.3f}; expected at most {maximum:.3f} above the champion's "
            f"{champion:.3f}",
        )


def _speed(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    ratio, minimum = evaluation.speed.ratio, thresholds.speed.min_ratio
    if ratio is not None:
        yield _check(
            "speed as a multiple of the champion's",
            ratio,
            ">=",
            minimum,
            lambda value: f"{value:.2f}",
            f"the speed is {ratio:.2f} of the champion's on the same texts in the same run; expected at "
            f"least {minimum:.2f}",
        )


def _behaviour(evaluation: Evaluation, thresholds: GateThresholds) -> Iterator[Check]:
    maximum = thresholds.behaviour.max_rise
    for test in evaluation.behaviour.tests:
        if test.against is None:
            continue
        example = f" Example: {test.candidate.examples[0]}" if test.candidate.examples else ""
        yield _check(
            f"behaviour: {test.name}, failures above the champion's",
            test.candidate.rate - test.against.rate,
            "<=",
            maximum,
            lambda value: f"{value:+.1%}",
            f"the candidate fails {test.candidate.rate:.1%} of the behavioural test {test.name!r}; expected "
            f"at most {maximum:.1%} above the champion's {test.against.rate:.1%}. {test.claim}{example}",
        )


def _check(
    name: str,
    value: float,
    relation: Relation,
    limit: float,
    show: Callable[[float], str],
    reason: str,
    *,
    measured: str | None = None,
    undecided: bool = False,
) -> Check:
    passed = {">=": value >= limit, "<=": value <= limit, ">": value > limit}[relation]
    shown = measured or show(value)
    return Check(
        name,
        float(value),
        relation,
        float(limit),
        passed,
        shown,
        f"{relation} {show(limit)}",
        reason,
        undecided and not passed,
    )


def _paired(evaluation: Evaluation) -> Iterator[tuple[str, Counts]]:
    for of_set in evaluation.sets:
        if of_set.difference:
            yield of_set.name, _counts(of_set.difference)
    for part in evaluation.slices:
        if part.difference:
            yield f"{part.set} {part.column}={part.value}", _counts(part.difference)


def _counts(difference: Difference) -> Counts:
    return np.array(list(difference.paired.values()), dtype=np.int64)


def of_labels(difference: Difference, labels: Sequence[str]) -> Counts:
    """Return the paired counts of every label: int64 (labels, 4)."""
    return np.array([difference.paired.get(label, (0, 0, 0, 0)) for label in labels], dtype=np.int64)


def in_points(difference: Interval) -> str:
    """Return estimate and ends of an interval of fractions, in points."""
    return f"{_points(difference.estimate)} [{_points(difference.low)}, {_points(difference.high)}]"


def _points(fraction: float) -> str:
    return f"{100 * fraction + 0.0:+.1f}"  # adding 0 removes the sign of -0


def _thousandths(value: float) -> str:
    return f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _count(value: float) -> str:
    return f"{value:,.0f}"
