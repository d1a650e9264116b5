"""Rates and their significance: accuracy, unknown tokens, the negative share of a segment."""

import math
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Sums over the texts for a ratio and its variance: t tokens per text, u of them unknown."""

    texts: int = 0
    tokens: int = 0
    unknown: int = 0
    tokens_squared: int = 0
    unknown_squared: int = 0
    product: int = 0

    def __add__(self, other: "TokenSums") -> "TokenSums":
        return TokenSums(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.unknown + other.unknown,
            self.tokens_squared + other.tokens_squared,
            self.unknown_squared + other.unknown_squared,
            self.product + other.product,
        )

    @property
    def rate(self) -> float:
        """Return the share of the tokens that are unknown, 0..1."""
        return self.unknown / self.tokens

    @property
    def rate_variance(self) -> float:
        """Return the variance of `rate`, with texts as the unit: an unknown name recurs in its text.

        Cochran 1977, Sampling Techniques, equation 6.13, without the correction for finite populations.
        """
        rate, n = self.rate, self.texts
        residuals = self.unknown_squared - 2 * rate * self.product + rate**2 * self.tokens_squared
        return residuals * n / max(n - 1, 1) / self.tokens**2


def rate_rise_p(current: TokenSums, reference_rate: float, reference_texts: int) -> float:
    """Return the one-sided p-value that the unknown rate has not risen, by the normal distribution.

    The reference stores its rate without a variance, so its texts are assumed to vary like those of the
    window. If the window has no variance, any rise is significant.

    Args:
        current: Sums of the window.
        reference_rate: Rate of the reference, 0..1.
        reference_texts: Number of texts of that rate.
    """
    rise = current.rate - reference_rate
    deviation = math.sqrt(current.rate_variance * (1 + current.texts / reference_texts))
    if deviation == 0:
        return 0.0 if rise > 0 else 1.0
    return float(stats.norm.sf(rise / deviation))


def fisher_p(count: int, of: int, other_count: int, other_of: int) -> float:
    """Return Fisher's exact two-sided p-value that two shares are the same (Fisher 1935)."""
    return float(stats.fisher_exact(_table(count, of, other_count, other_of)).pvalue)


def fall_p(right: int, of: int, right_before: int, of_before: int) -> float:
    """Return Fisher's exact one-sided p-value that a share has not fallen."""
    return float(stats.fisher_exact(_table(right, of, right_before, of_before), alternative="less").pvalue)


def _table(count: int, of: int, other_count: int, other_of: int) -> list[list[int]]:
    return [[count, of - count], [other_count, other_of - other_count]]
