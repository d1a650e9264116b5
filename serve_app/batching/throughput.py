"""Throughput estimator of a device: a batch takes a fixed cost plus a cost per token, fitted online."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_KEPT_FRACTION = 0.8
"""Weight that earlier batches of a size class keep with each new one: about the latest five determine the
mean."""
_MAX_SLOWDOWN = 3.0
"""Maximum ratio of an observation to its prediction. It limits the effect of a process that was stopped for
seconds; a device that really is slower shows it again with the next batch."""


@dataclass(slots=True)
class _SizeClass:
    """Exponentially weighted sums over batches of similar size: count, tokens, seconds."""

    count: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0

    def observe(self, tokens: int, seconds: float) -> None:
        self.count = _KEPT_FRACTION * self.count + 1
        self.tokens = _KEPT_FRACTION * self.tokens + tokens
        self.seconds = _KEPT_FRACTION * self.seconds + seconds


class ThroughputEstimator:
    """Estimates the seconds of a batch, `fixed_s + token_s * tokens`, from recent batches of each size.

    Batches are kept by size class (powers of two), so that many single short texts do not displace the
    measurements of full batches. The line minimises the squared relative error over the classes, with both
    coefficients at least 0. It is scaled by the ratio of the latest batches of any size to it: a device that
    becomes slower while all batches have one size is slower for the other sizes too.

    Attributes:
        fixed_s: Seconds of a batch independent of its size, >= 0.
        token_s: Seconds per token, >= 0.
    """

    def __init__(self) -> None:
        self.fixed_s = 0.0
        self.token_s = 0.0
        self._classes: dict[int, _SizeClass] = {}
        self._observed_s = self._expected_s = 0.0  # sums over the latest batches
        self._overdue: list[tuple[float, float]] = []  # the same for each overdue running batch

    def observe(self, tokens: int, seconds: float) -> None:
        """Add the measurement of a batch.

        The first batch of a size class is ignored: it includes one-time costs, such as the choice of a
        kernel.

        Args:
            tokens: Number of tokens of the batch, >= 1.
            seconds: Device time of the batch, > 0; while batches run in parallel, its share of the time.
        """
        size = tokens.bit_length()
        if size not in self._classes:
            self._classes[size] = _SizeClass()
            return
        if self._is_fitted:
            seconds = min(seconds, _MAX_SLOWDOWN * self._slowness() * self._line_s(tokens))
        self._classes[size].observe(tokens, seconds)
        self._fit()
        self._observed_s = _KEPT_FRACTION * self._observed_s + seconds
        self._expected_s = _KEPT_FRACTION * self._expected_s + self._line_s(tokens)

    def see_running(self, batches: Iterable[tuple[int, float]]) -> None:
        """Include running batches that have already taken longer than expected.

        A slower device is thus detected before its batch ends; otherwise the queue could fill with as much
        work as the faster device could do.

        Args:
            batches: Number of tokens and seconds so far of each running batch.
        """
        slowness = self._slowness()
        expected = ((self._line_s(tokens), seconds) for tokens, seconds in batches)
        self._overdue = [
            (min(seconds, _MAX_SLOWDOWN * slowness * expected_s), expected_s)
            for expected_s, seconds in expected
            if seconds > slowness * expected_s
        ]

    def batch_s(self, tokens: float) -> float:
        """Return the expected seconds of one batch; 0 before the first measurement."""
        return self.work_s(tokens, 1)

    def work_s(self, tokens: float, batches: float) -> float:
        """Return the expected seconds of this number of tokens in this number of batches."""
        return self._slowness(self._overdue) * self._line_s(tokens, batches)

    def tokens_per_s(self, batch_tokens: float) -> float:
        """Return the throughput with batches of this size; 0 before the first measurement."""
        seconds = self.batch_s(batch_tokens)
        return batch_tokens / seconds if seconds else 0.0

    def _line_s(self, tokens: float, batches: float = 1) -> float:
        return self.fixed_s * batches + self.token_s * tokens

    def _slowness(self, overdue: Iterable[tuple[float, float]] = ()) -> float:
        """Return the ratio of observed to expected time of the latest batches."""
        observed_s, expected_s = self._observed_s, self._expected_s
        for seconds, line_s in overdue:
            observed_s = _KEPT_FRACTION * observed_s + seconds
            expected_s = _KEPT_FRACTION * expected_s + line_s
        return observed_s / expected_s if expected_s else 1.0

    @property
    def _is_fitted(self) -> bool:
        return self.fixed_s > 0 or self.token_s > 0

    def _fit(self) -> None:
        """Fit the line to the means: weighted least squares, weights 1/seconds², coefficients >= 0."""
        points = [
            (of.tokens / of.count, of.seconds / of.count) for of in self._classes.values() if of.seconds > 0
        ]
        if not points:
            return
        weights = [1 / (seconds * seconds) for _, seconds in points]
        total = sum(weights)
        mean_tokens = sum(w * t for w, (t, _) in zip(weights, points, strict=True)) / total
        mean_s = sum(w * s for w, (_, s) in zip(weights, points, strict=True)) / total
        spread = sum(w * (t - mean_tokens) ** 2 for w, (t, _) in zip(weights, points, strict=True))
        rise = sum(w * (t - mean_tokens) * (s - mean_s) for w, (t, s) in zip(weights, points, strict=True))
        if spread <= 0 or mean_s <= rise / spread * mean_tokens:  # one size only, or a negative fixed cost
            square = sum(w * t * t for w, (t, _) in zip(weights, points, strict=True))
            cross = sum(w * t * s for w, (t, s) in zip(weights, points, strict=True))
            self.fixed_s, self.token_s = 0.0, cross / square
        elif rise < 0:
            self.fixed_s, self.token_s = mean_s, 0.0
        else:
            self.token_s = rise / spread
            self.fixed_s = mean_s - self.token_s * mean_tokens
