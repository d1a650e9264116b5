"""Sequential evidence that a share is worse by more than a tolerance, valid after every window.

Each test keeps an e-process: a bet against the hypothesis "the canary is within the tolerance". If the
hypothesis holds, the expected factor of the stake is at most 1. By Ville's inequality the e-process then ever
reaches 1/alpha with probability at most alpha, regardless of how often it is evaluated and of the number of
requests.

One window is a block of champion's and canary's trials with shares (a, b). The bet is the likelihood ratio

    E = p(block | a1, b1) / p(block | a0, b0)

of an alternative (a1, b1), chosen from earlier windows only, to the point (a0, b0) of the hypothesis that is
nearest to it in Kullback-Leibler divergence. The hypothesis b <= a + tolerance is a convex set of (a, b); so
for each of its points the expectation of E is at most 1: with s_g the slope of the ratio in group g, log E[E]
= sum_g n_g log(1 + s_g (t_g - t0_g)) <= sum_g n_g s_g (t_g - t0_g) <= 0, where the last step is the
optimality of (a0, b0). The shares may change from window to window, as traffic does.

A trial is a request, and its outcome is any number from 0 to 1: 1 for a 5xx, or the share of its texts that
have some label. Texts of one request are correlated, so they are not trials. The hits of a block are the sum
of the outcomes, which is all that the metrics must provide. The bet stays valid: as a function of one outcome
x the ratio is r(x) = (t1/t0)^x ((1-t1)/(1-t0))^(1-x), which is convex, and so at most 1 + s_g (x - t0), its
chord between x = 0 and x = 1. The expectation of the chord is 1 + s_g (t_g - t0), as for a trial with only
the outcomes 0 and 1 (Hoeffding, "Probability inequalities for sums of bounded random variables" (1963),
inequality 4.1; bets on means of bounded outcomes: Waudby-Smith, Ramdas, "Estimating means of bounded random
variables by betting" (2024, arXiv:2010.09686)). The test loses power where the outcomes of requests vary less
than outcomes of 0 and 1 do.

Sources: Turner, Ly, Gruenwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping" (2021, arXiv:2106.02693); Turner, Gruenwald, "Exact anytime-valid confidence intervals for
contingency tables and beyond" (2022, arXiv:2203.09785), for the tolerance; Ville, "Etude critique de la
notion de collectif" (1939). Averages of e-processes are e-processes: over the sizes of the alternative, over
the window in which the bet begins (which also detects a version that becomes worse late), and over labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LIFTS = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
"""Sizes of the alternatives, beyond the tolerance. Each gets an equal part of the stake."""

_NEAR = 1e-9  # shares stay this far from 0 and 1
_BISECTIONS = 50


def worse(
    champion_hits: Array, champion_trials: Array, canary_hits: Array, canary_trials: Array, tolerance: float
) -> Array:
    """Return the evidence that the canary's share of hits exceeds the champion's by more than a tolerance.

    Args:
        champion_hits: (..., windows), sums of outcomes from 0 to 1, so at most the trials.
        champion_trials: (..., windows)
        canary_hits: (..., windows)
        canary_trials: (..., windows)
        tolerance: 0..1, exclusive.

    Returns:
        (..., windows): the natural logarithm of the e-process after each window. The first window with trials
            of the champion only provides the first estimate of the champion's share: the test does not bet on
            it.
    """
    before_hits = np.cumsum(champion_hits, axis=-1) - champion_hits
    before_trials = np.cumsum(champion_trials, axis=-1) - champion_trials
    a1 = ((before_hits + 0.5) / (before_trials + 1))[..., None]
    b1 = a1 + tolerance + LIFTS
    possible = (b1 < 1) & (before_trials > 0)[..., None]
    a1, b1 = np.clip(a1, _NEAR, 1 - _NEAR), np.clip(b1, _NEAR, 1 - _NEAR)
    trials = champion_trials[..., None], canary_trials[..., None]
    a0 = _nearest(a1, b1, *trials, tolerance)
    gain = _log_ratio(a1, a0, champion_hits[..., None], trials[0])
    gain = gain + _log_ratio(b1, a0 + tolerance, canary_hits[..., None], trials[1])
    return _bet(np.where(possible, gain, 0.0))


def differs(
    champion_hits: Array, champion_trials: Array, canary_hits: Array, canary_trials: Array, tolerance: float
) -> Array:
    """Return the evidence that two shares of hits differ by more than a tolerance, either way; as `worse`."""
    more = worse(champion_hits, champion_trials, canary_hits, canary_trials, tolerance)
    champion_misses, canary_misses = champion_trials - champion_hits, canary_trials - canary_hits
    fewer = worse(champion_misses, champion_trials, canary_misses, canary_trials, tolerance)
    return np.asarray(np.logaddexp(more, fewer) - np.log(2))


def above(hits: Array, trials: Array, limit: float) -> Array:
    """Return the evidence that a share of hits is above a limit; (..., windows) as `worse`.

    The likelihood ratio of a larger share to the limit rises with the hits, so the limit itself is the least
    favorable point of the hypothesis.
    """
    limit = max(limit, _NEAR)
    b1 = limit + LIFTS
    clipped = np.clip(b1, _NEAR, 1 - _NEAR)
    gain = _log_ratio(clipped, np.full_like(b1, limit), hits[..., None], trials[..., None])
    return _bet(np.where(b1 < 1, gain, 0.0))


def mixture(evidence: Sequence[float], stakes: Sequence[float]) -> float:
    """Return the evidence of several e-processes that share one stake; the rest of the stake stays unchanged.

    A process may begin late, at a time that only earlier windows decide, and counts as 1 (evidence 0) before.
    """
    left = max(0.0, 1 - sum(stakes))
    parts = np.append(np.asarray(evidence) + np.log(stakes), np.log(left) if left else -np.inf)
    return float(np.logaddexp.reduce(parts))


def _nearest(a1: Array, b1: Array, na: Array, nb: Array, tolerance: float) -> Array:
    """Return the champion's share a0 of the nearest point (a0, a0 + tolerance) on the edge of the hypothesis.

    The point is where the derivative of na KL(a1 || a) + nb KL(b1 || a + tolerance), which rises in a, is 0;
    that is between a1 and b1 - tolerance.
    """
    low = np.broadcast_to(a1, np.broadcast_shapes(a1.shape, b1.shape, na.shape)).copy()
    high = np.maximum(low, b1 - tolerance)
    for _ in range(_BISECTIONS):
        a = (low + high) / 2
        b = np.clip(a + tolerance, _NEAR, 1 - _NEAR)
        a = np.clip(a, _NEAR, 1 - _NEAR)
        slope = na * (a - a1) / (a * (1 - a)) + nb * (b - b1) / (b * (1 - b))
        low, high = np.where(slope < 0, a, low), np.where(slope < 0, high, a)
    return np.asarray(np.clip((low + high) / 2, _NEAR, 1 - _NEAR - tolerance))


def _log_ratio(one: Array, zero: Array, hits: Array, trials: Array) -> Array:
    """Return the logarithm of the likelihood ratio of two shares."""
    return np.asarray(hits * np.log(one / zero) + (trials - hits) * np.log((1 - one) / (1 - zero)))


def _bet(gain: Array) -> Array:
    """Combine one-window bets (..., windows, lifts), as logarithms, into the entire stake (..., windows).

    1 / ((k + 1) (k + 2)) of the stake begins with window k; the part that has not begun stays unchanged.
    """
    windows = gain.shape[-2]
    begins = 1 / (np.arange(1, windows + 1) * np.arange(2, windows + 2))
    kept = 1 - np.cumsum(begins)
    running = np.full(gain[..., 0, :].shape, -np.inf)
    whole = np.empty(gain.shape[:-1])
    for window in range(windows):
        running = np.logaddexp(running, np.log(begins[window])) + gain[..., window, :]
        laid = np.logaddexp.reduce(running, axis=-1) - np.log(len(LIFTS))
        whole[..., window] = np.logaddexp(laid, np.log(kept[window]))
    return whole
