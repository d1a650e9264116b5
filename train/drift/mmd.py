"""Maximum mean discrepancy: do two samples of embeddings come from the same distribution?

Gretton et al. 2012, A Kernel Two-Sample Test, JMLR 13: the unbiased estimate of lemma 6 with a Gaussian
kernel, its width the median distance between the points of both samples (section 8), its p by permutation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PERMUTATIONS = 2_000
"""The least p-value is 1 / 2,001: small enough to stay below 0.01 after a correction for ten checks."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """What the test found."""

    squared: float
    """MMD squared, unbiased: 0 on average where nothing differs, at most 2, whatever the samples' sizes."""
    p: float


def discrepancy(
    x: npt.NDArray[np.floating],
    y: npt.NDArray[np.floating],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Discrepancy:
    """Compare two samples.

    Args:
        x: (texts, size), at least two texts.
        y: (texts, size), at least two.
        permutations: How often the points are dealt anew to the two samples; memory grows with it.
        seed: The same seed gives the same p.
    """
    points = np.concatenate([x, y]).astype(np.float64)
    kernel = gaussian_kernel(points)
    measured = np.zeros((len(points), 1))
    measured[: len(x)] = 1
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.repeat(measured, permutations, axis=1), axis=0)
    squared = _squared(kernel, measured)[0]
    thrown = _squared(kernel, dealt)
    # Phipson and Smyth 2010, Permutation P-values Should Never Be Zero.
    p = (1 + int(np.sum(thrown >= squared))) / (1 + permutations)
    return Discrepancy(float(squared), p)


def gaussian_kernel(points: Floats) -> Floats:
    """exp(-d^2 / (2 w^2)) of the distances d between points, w their median; the diagonal is 0.

    Args:
        points: float64 (points, size), at least two.

    Returns:
        float64 (points, points); all ones beside the diagonal if most points are the same.
    """
    norms = (points**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms[None, :] - 2 * points @ points.T, 0)
    width2 = float(np.median(squares[np.triu_indices(len(points), k=1)]))
    kernel: Floats = np.exp(-squares / (2 * width2)) if width2 > 0 else np.ones_like(squares)
    np.fill_diagonal(kernel, 0)
    return kernel


def _squared(kernel: Floats, chosen: Floats) -> Floats:
    """MMD squared of every column of `chosen`, float64 (points, draws) of 1 for x and 0 for y."""
    n = chosen[:, 0].sum()
    m = len(chosen) - n
    xx = (chosen * (kernel @ chosen)).sum(axis=0)
    with_x = kernel.sum(axis=1) @ chosen
    xy = with_x - xx
    yy = kernel.sum() - 2 * xy - xx
    found: Floats = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    return found
