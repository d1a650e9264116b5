"""Segment shift: the share of a label in a segment, compared with the segment's own history.

A share varies between days by more than the number of texts explains: other customers, another campaign.
Therefore the history is divided into periods as long as the window, and the predictions of a period are
modelled as beta-binomial: the share itself varies around the segment's mean. The intraclass correlation of
that variation is estimated from the history of all segments, and of the segment itself if it varies more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from train.drift.results import Measure
from train.drift.statistics import Counts, Floats
from train.drift.thresholds import DriftThresholds
from train.drift.window import SegmentHistory, WindowStatistics

_PRIOR_PERIODS = 6
"""Weight in periods of the variation of all segments in the estimate for one. In `python -m
benchmarks.segment_power`, 3 and 6 are equally good."""
_PRIOR_TEXTS = (1.0, 200.0)
"""Minimum and maximum weight of the mean of all segments in the mean of one, in texts."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class JudgedSegments:
    """Result for all segments.

    Attributes:
        measures: one result for each segment with a sufficient history.
        not_yet: number of segments with enough rows whose history is too short.
    """

    measures: tuple[Measure, ...]
    not_yet: int


def segments(
    traffic: WindowStatistics, history: SegmentHistory, thresholds: DriftThresholds
) -> JudgedSegments:
    """Compare every segment that has enough rows with its own history.

    Args:
        traffic: Traffic of the window.
        history: History of the same version before the window.
        thresholds: Limits.
    """
    bounds = thresholds.segments
    large = [name for name, counts in traffic.segments.items() if counts.sum() >= bounds.min_rows]
    known = [name for name in large if _periods(history.get(name)) >= bounds.min_past_periods]
    if not known:
        return JudgedSegments((), len(large))
    past = np.stack([history[name] for name in known])
    now = np.stack([traffic.segments[name] for name in known])
    rises = now / now.sum(axis=1, keepdims=True) - _pooled_shares(past)
    p_values = np.stack([label_p_values(past, now, label) for label in range(len(traffic.labels))], axis=1)
    return JudgedSegments(
        tuple(
            _measure(name, traffic.labels, past[i].sum(axis=0), now[i], rises[i], p_values[i], thresholds)
            for i, name in enumerate(known)
        ),
        len(large) - len(known),
    )


def label_p_values(past: Counts, now: Counts, label: int) -> Floats:
    """Return each segment's two-sided p-value of the difference of a label's share from its history.

    The number of predictions with the label is beta-binomial (Skellam 1948) with the segment's past mean m
    and the correlation r + (1 - r) / (n + 1), where r is the correlation between the texts of a period, and n
    the number of independent texts that m is estimated from. The mean, its weights and its prior are moment
    estimators (Kleinman 1973, Proportions with Extraneous Variance, JASA 68); r is estimated by the analysis
    of variance (Ridout, Demetrio and Firth 1999, Estimating Intraclass Correlation for Binary Data,
    Biometrics 55).

    Args:
        past: int64 (segments, periods, labels); a period without texts does not count.
        now: int64 (segments, labels), at least one text each.
        label: Index of the label.

    Returns:
        float64 (segments,).
    """
    k, n = past[:, :, label], past.sum(axis=2)
    totals, texts = k.sum(axis=1), n.sum(axis=1)
    shares = k / np.maximum(n, 1)
    mean = (totals.sum() + 0.5) / (texts.sum() + 1)
    of_segment = (totals + mean) / (texts + 1)

    between = (n * (shares - (totals / texts)[:, None]) ** 2).sum(axis=1)
    within = (n * shares * (1 - shares)).sum()
    freedom = (n > 0).sum(axis=1) - 1
    size = (texts - (n**2).sum(axis=1) / texts) / freedom
    r_all = _correlation(
        between.sum() / freedom.sum(), within / max((texts - freedom - 1).sum(), 1), size.mean()
    )
    # Variance of a share in units of the binomial variance: the segment's own, combined with all segments'.
    expected = 1 + (size - 1) * r_all
    dispersion = between / (of_segment * (1 - of_segment)) + _PRIOR_PERIODS * expected
    dispersion /= freedom + _PRIOR_PERIODS - 2  # the variance of a t distribution is freedom / (freedom - 2)
    r = np.maximum(r_all, np.clip((dispersion - 1) / np.maximum(size - 1, 0.5), 0, 0.95))

    independent = n / (1 + (n - 1) * r[:, None])
    known = independent.sum(axis=1)
    prior = _prior_texts(totals / texts, known, mean)
    m = ((shares * independent).sum(axis=1) + prior * mean) / (known + prior)
    sharpness = 1 / (r + (1 - r) / (known + prior + 1)) - 1

    answers = now.sum(axis=1)
    effect = np.abs(now[:, label] / answers - totals / texts)
    more = np.ceil(answers * (totals / texts + effect) - _ROUNDING) - 1
    less = np.floor(answers * (totals / texts - effect) + _ROUNDING)
    a, b = m * sharpness, (1 - m) * sharpness
    found: Floats = stats.betabinom.sf(more, answers, a, b) + stats.betabinom.cdf(less, answers, a, b)
    return np.minimum(found, 1.0)


def _correlation(between: float, within: float, size: float) -> float:
    total = between + (size - 1) * within
    return min(0.95, max(0.0, (between - within) / total)) if total > 0 else 0.0


def _prior_texts(shares: Floats, independent: Floats, mean: float) -> float:
    """Return the weight, in texts, of the overall mean in each segment's mean: lower if they differ more."""
    spread = float(((shares - mean) ** 2 - mean * (1 - mean) / independent).mean())
    texts = mean * (1 - mean) / spread - 1 if spread > 0 else math.inf
    return float(np.clip(texts, *_PRIOR_TEXTS))


def _periods(history: Counts | None) -> int:
    """Return the number of periods of the history in which a segment has texts."""
    return 0 if history is None else int((history.sum(axis=1) > 0).sum())


def _pooled_shares(past: Counts) -> Floats:
    totals = past.sum(axis=1)
    found: Floats = totals / totals.sum(axis=1, keepdims=True)
    return found


def _measure(
    name: str,
    labels: Sequence[str],
    past: Counts,
    now: Counts,
    rises: Floats,
    p_values: Floats,
    thresholds: DriftThresholds,
) -> Measure:
    risen = int(rises.argmax())
    # With two labels, one is sufficient; with more, the label that rose most was selected among them.
    p = float(min(1.0, p_values[risen] * (len(labels) if len(labels) > 2 else 1)))
    return Measure(
        check=name,
        kind="segment",
        effect=float(rises[risen]),
        bound=thresholds.segments.label_share,
        p=p,
        claim=f"the segment {name!r} drifted",
        measured=f"{now[risen] / now.sum():.0%} of {now.sum():,} predictions are {labels[risen]} "
        f"({past[risen] / past.sum():.0%} of {past.sum():,} in the history)",
    )
