"""Detection of growth in a series of memory or descriptors, by a confidence interval of its slope.

Resident memory is not a stationary series around a line: an allocator takes pages in steps and keeps them, so
that levels behave like a random walk. For a random walk, least squares with any of the usual corrections for
autocorrelation reports slopes that do not exist. The estimate here is therefore the mean of the increments
between points equally spaced in time, with Student's t: exact for a random walk with drift, whose increments
are independent, and conservative for a stationary series, whose increments are correlated negatively. One
step among steady values is not significant; a leak, which shows in most increments, is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

INCREMENTS = 10
"""Number of increments per series."""
_WINDOW_FRACTION = 0.3
"""Fraction of an increment's duration over which each point is the median: single peaks are not a level."""


@dataclass(frozen=True, slots=True)
class Slope:
    """Slope per second, and the ends of its confidence interval."""

    per_s: float
    low: float
    high: float

    @property
    def grows(self) -> bool:
        """Return whether the slope is significantly above 0."""
        return self.low > 0


def slope(times_s: Sequence[float], values: Sequence[float], *, error: float = 0.05) -> Slope:
    """Estimate the slope of a series.

    Args:
        times_s: times of the samples, ascending, in seconds; at least three per increment.
        values: the samples.
        error: probability that the interval does not contain the slope, for example 0.05 divided by the
            number of series.

    Raises:
        ValueError: there are too few samples.
    """
    if len(times_s) < 3 * INCREMENTS:
        raise ValueError(f"{len(times_s)} samples are too few for a slope: at least {3 * INCREMENTS}")
    times, series = np.asarray(times_s), np.asarray(values, dtype=float)
    half = _WINDOW_FRACTION / 2
    step_s = (times[-1] - times[0]) / (INCREMENTS + 2 * half)
    centres = times[0] + step_s * (half + np.arange(INCREMENTS + 1))
    levels = [_level(times, series, centre, half * step_s) for centre in centres]
    increments = np.diff(levels) / step_s
    mean = float(increments.mean())
    spread = float(increments.std(ddof=1)) / math.sqrt(INCREMENTS)
    margin = float(stats.t.ppf(1 - error / 2, INCREMENTS - 1)) * spread
    return Slope(mean, mean - margin, mean + margin)


def _level(times: np.ndarray, series: np.ndarray, centre: float, half_s: float) -> float:
    """Return the median around a time, or the nearest sample if there is none in the window."""
    distance = np.abs(times - centre)
    return float(np.median(series[distance <= max(half_s, float(distance.min()))]))
