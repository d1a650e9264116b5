"""`python -m benchmarks.feedback_bias`: effect of selective feedback on the drift verdict.

The probability that an answer is correct equals its score. A wrong answer gets feedback in 30 of 100 cases, a
correct one `ratio` times as often. The project's rule is compared with two others: unweighted feedback, and
feedback weighted by the inverse of its rate among answers with the same label and score.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tests.unit.train.drift.builders import audited, reference, traffic
from train.drift.detector import judge
from train.drift.results import Level
from train.drift.statistics import fall_p
from train.drift.thresholds import read_thresholds
from train.prediction_log.label_accuracy import FeedbackCounts

RATIOS = (1.0, 0.5, 0.2, 0.1, 0.0)
RATE = 0.3
"""Rate of feedback on wrong answers."""
FALL_P = 0.01 / 6
"""Significance level of one of six checks."""


@dataclass(frozen=True)
class FeedbackWorld:
    """Window of distinct texts and its feedback.

    Attributes:
        ratio: rate of feedback on correct answers, divided by that on wrong ones.
        audit_texts: size of the audit sample.
        fall: decrease of the accuracy, equal for all scores.
        texts: number of texts in the window.
    """

    ratio: float
    audit_texts: int = 0
    fall: float = 0.0
    texts: int = 5_000


@dataclass(frozen=True)
class Drawn:
    """One window: score of each text, whether the answer is correct, and whether it has feedback."""

    score: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    judged: npt.NDArray[np.bool_]
    audit: npt.NDArray[np.int64]


def draw(world: FeedbackWorld, seed: int) -> Drawn:
    """Draw a window."""
    rng = np.random.default_rng([seed, round(100 * world.ratio), world.audit_texts])
    score = 0.5 + 0.5 * rng.beta(4, 1, world.texts)
    right = rng.random(world.texts) < score - world.fall
    judged = rng.random(world.texts) < np.where(right, RATE * world.ratio, RATE)
    return Drawn(score, right, judged, rng.choice(world.texts, world.audit_texts, replace=False))


def judge_feedback(world: FeedbackWorld, seed: int) -> Level:
    """Return the project's verdict."""
    drawn = draw(world, seed)
    labels = FeedbackCounts(
        int(drawn.right[drawn.judged].sum()),
        int(drawn.judged.sum()),
        audited(int(drawn.right[drawn.audit].sum()), world.audit_texts),
    )
    window = replace(traffic(world.texts), feedback=labels)
    return judge(reference(right=1_800, judged=2_000), window, read_thresholds()).verdict


def at_its_word(world: FeedbackWorld, seed: int, *, weighted: bool) -> bool:
    """Return whether feedback alone shows a decrease of the accuracy.

    With `weighted`, feedback is weighted by label and score.
    """
    drawn = draw(world, seed)
    stratum = np.minimum((drawn.score * 20).astype(int), 19)
    of_all, judged = np.bincount(stratum, minlength=20), np.bincount(stratum[drawn.judged], minlength=20)
    weights = (of_all / np.maximum(judged, 1))[stratum] if weighted else np.ones(world.texts)
    weights, right = weights[drawn.judged], drawn.right[drawn.judged]
    if not len(right):
        return False
    share, size = float(weights @ right / weights.sum()), weights.sum() ** 2 / (weights @ weights)
    return 0.9 - share >= 0.03 and fall_p(round(share * size), round(size), 1_800, 2_000) <= FALL_P


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.feedback_bias", description=__doc__)
    parser.add_argument("--windows", type=int, default=500, help="windows of each cell (default: 500)")
    seeds = range(parser.parse_args(arguments).windows)

    def share(verdicts: Sequence[bool]) -> str:
        return f"{np.mean(verdicts):.1%}"

    print(
        "| feedback on right answers, over that on wrong ones | "
        + " | ".join(f"{r:g}" for r in RATIOS)
        + " |"
    )
    print("| --- " * (len(RATIOS) + 1) + "|")
    for name, weighted in (("at its word", False), ("weighted by label and score", True)):
        cells = [
            share([at_its_word(FeedbackWorld(r), seed, weighted=weighted) for seed in seeds]) for r in RATIOS
        ]
        print(f"| unchanged, {name} | {' | '.join(cells)} |", flush=True)
    worlds = [
        ("unchanged, without an audit sample", FeedbackWorld(0)),
        ("unchanged, audit sample of 400", FeedbackWorld(0, 400)),
        ("5 points fewer right, audit sample of 400", FeedbackWorld(0, 400, 0.05)),
        ("5 points fewer right, audit sample of 1,000", FeedbackWorld(0, 1_000, 0.05)),
        ("10 points fewer right, audit sample of 400", FeedbackWorld(0, 400, 0.10)),
        ("10 points fewer right, without an audit sample", FeedbackWorld(0, 0, 0.10)),
    ]
    for name, world in worlds:
        cells = [
            share([judge_feedback(replace(world, ratio=ratio), seed) == "retrain" for seed in seeds])
            for ratio in RATIOS
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
