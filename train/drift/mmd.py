"""Maximum mean discrepancy: a test whether two samples of embeddings have the same distribution, per label.

Gretton et al. 2012, A Kernel Two-Sample Test, JMLR 13: the unbiased estimate of lemma 6 with a Gaussian
kernel, whose width is the median distance between the points of both samples (section 8); the p-value is
computed by permutation.

The inputs of a classifier's head differ mostly by label, so a higher share of complaints among the same kind
of texts would appear as another domain. Therefore only texts with the same predicted label are compared and
permuted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from train.drift.statistics import Counts, Floats
from train.profile import Halves, ask

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier


PERMUTATIONS = 2_000
"""The minimum p-value is 1 / 2,001, which stays below 0.01 after a correction for ten checks."""

LEAST_TEXTS = 10
"""Minimum number of texts of a label in each sample for a comparison."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embeddings of a sample of texts, with the predictions."""

    embeddings: npt.NDArray[np.floating]
    """(texts, hidden), inputs of the classification head."""
    answers: Counts
    """Index of each text's predicted label: int64 (texts,)."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Result of the test."""

    squared: float
    """Squared MMD, unbiased, mean over the labels: 0 without a difference, at most 2, for any sample size."""
    p: float


def discrepancy(
    x: Embedded, y: Embedded, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> Discrepancy | None:
    """Compare two samples; return None if no label has `LEAST_TEXTS` in both.

    Args:
        x: First sample.
        y: Second sample.
        permutations: Number of random permutations of a label's texts between the two samples.
        seed: Random seed; the same seed gives the same p-value.
    """
    points = np.concatenate([x.embeddings, y.embeddings]).astype(np.float64)
    kernel = gaussian_kernel(points)
    answers = np.concatenate([x.answers, y.answers])
    of_x = np.arange(len(points)) < len(x.answers)
    rng = np.random.default_rng(seed)
    weights, measured, dealt = [], [], []
    for label in np.unique(answers):
        places = np.flatnonzero(answers == label)
        chosen = of_x[places].astype(np.float64)[:, None]
        n, m = chosen.sum(), (1 - chosen).sum()
        if min(n, m) >= LEAST_TEXTS:
            of_label = kernel[np.ix_(places, places)]
            anew = rng.permuted(np.repeat(chosen, permutations, axis=1), axis=0)
            # The variance of an estimate is inversely proportional to this, so labels with few texts have a
            # low weight.
            weights.append(n * m / (n + m))
            measured.append(squared(of_label, chosen))
            dealt.append(squared(of_label, anew))
    if not weights:
        return None
    found = float(np.average(measured, axis=0, weights=weights)[0])
    thrown = np.average(dealt, axis=0, weights=weights)
    # Phipson and Smyth 2010, Permutation P-values Should Never Be Zero.
    return Discrepancy(found, (1 + int(np.sum(thrown >= found))) / (1 + permutations))


def gaussian_kernel(points: Floats) -> Floats:
    """Return exp(-d^2 / (2 w^2)) of the distances d between points, w their median; the diagonal is 0.

    Args:
        points: float64 (points, size), at least two.

    Returns:
        float64 (points, points); all ones outside the diagonal if most points are the same.
    """
    norms = (points**2).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms[None, :] - 2 * points @ points.T, 0)
    width2 = float(np.median(squares[np.triu_indices(len(points), k=1)]))
    kernel: Floats = np.exp(-squares / (2 * width2)) if width2 > 0 else np.ones_like(squares)
    np.fill_diagonal(kernel, 0)
    return kernel


def squared(kernel: Floats, chosen: Floats) -> Floats:
    """Return the squared MMD, unbiased, for each way to divide the points into x and y.

    Args:
        kernel: float64 (points, points), 0 on the diagonal.
        chosen: float64 (points, ways): 1 for x and 0 for y; the same number of each in every column, at least
            two.

    Returns:
        float64 (ways,).
    """
    n = chosen[:, 0].sum()
    m = len(chosen) - n
    xx = (chosen * (kernel @ chosen)).sum(axis=0)
    xy = kernel.sum(axis=1) @ chosen - xx
    yy = kernel.sum() - 2 * xy - xx
    found: Floats = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    return found


def embed_texts(classifier: "Classifier", texts: Sequence[str]) -> Embedded:
    """Compute the embeddings and predictions of at least one text.

    Raises:
        InvalidBundleError: The model's head does not use the first token.
    """
    logits, embeddings = ask(classifier, classifier.preprocess(texts))
    return Embedded(embeddings, logits.argmax(axis=1))


def answered(classifier: "Classifier", embeddings: Halves) -> Embedded:
    """Return embeddings of a profile with the predictions that the model's head makes for them.

    Raises:
        InvalidBundleError: The model's head does not use the first token.
    """
    import torch

    floats = embeddings.astype(np.float32)
    logits = classifier.logits_of_embeddings(torch.from_numpy(floats))
    return Embedded(floats, logits.argmax(dim=-1).cpu().numpy())
