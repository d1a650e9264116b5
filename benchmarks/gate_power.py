"""`python -m benchmarks.gate_power`: verdicts of the gate on candidates that are equal, worse and better.

Two models answer texts of two labels; the champion is correct in 90 of 100 cases, and they agree in 95. The
probabilities that the candidate corrects a wrong answer, and that it spoils a correct one, differ between
texts (beta distributions), so that the texts are not equally hard. `--feedback` simulates a retraining: an
audit sample, and feedback that is rarer for correct answers than for wrong ones.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tests.unit.train.evaluation.synthetic import LABELS, FakeModel, evaluated, texts
from train.evaluation.compare import Counts, Interval
from train.evaluation.gate import Answer, Verdict, decide
from train.evaluation.results import Difference, Evaluation, Role
from train.evaluation.thresholds import read_thresholds
from train.retraining.config import read_retrain_bounds
from train.retraining.gain import gain
from train.retraining.run_spec import AUDIT, FEEDBACK

RESAMPLES = 10_000
"""Same number as in production; short tests use fewer."""


@dataclass(frozen=True)
class Candidate:
    """Properties of a candidate.

    Attributes:
        difference: accuracy of the candidate minus that of the champion.
        disagreement: share of the texts that only one of them answers correctly.
        accuracy: accuracy of the champion.
    """

    difference: float
    disagreement: float = 0.05
    accuracy: float = 0.9


def outcomes(candidate: Candidate, count: int, rng: np.random.Generator) -> tuple[Counts, Counts, Counts]:
    """Return for each text its label, whether the champion is correct, and whether the candidate is."""
    label = rng.integers(0, 2, count)
    champion = rng.random(count) < candidate.accuracy
    won = (candidate.disagreement + candidate.difference) / 2 / (1 - candidate.accuracy)
    lost = (candidate.disagreement - candidate.difference) / 2 / candidate.accuracy
    repaired, spoilt = rng.beta(2 * won, 2 * (1 - won), count), rng.beta(0.5 * lost, 0.5 * (1 - lost), count)
    right = np.where(champion, rng.random(count) >= spoilt, rng.random(count) < repaired)
    return label, champion.astype(np.int64), right.astype(np.int64)


def paired(label: Counts, champion: Counts, right: Counts) -> Counts:
    """Return the counts like `train.evaluation.compare.paired_counts`."""
    cell = 2 * ~right.astype(bool) + ~champion.astype(bool)
    return np.bincount(label * 4 + cell, minlength=8).reshape(2, 4)


def evaluation_of(sets: dict[str, tuple[Role, Counts]], resamples: int = RESAMPLES) -> Evaluation:
    """Return an evaluation in which everything except the paired counts is good."""
    base = _base()
    [of_base] = base.sets
    level = Interval(0.0, 0.0, 0.0)
    results = []
    for name, (role, counts) in sets.items():
        rows = zip(LABELS, counts, strict=True)
        difference = Difference(
            accuracy=level,
            balanced_accuracy=level,
            mcnemar_p=1.0,
            paired={label: (int(a), int(b), int(c), int(d)) for label, (a, b, c, d) in rows},
        )
        class_texts = dict(zip(LABELS, counts.sum(axis=1).tolist(), strict=True))
        figures = replace(of_base.candidate.figures, class_texts=class_texts)
        model = of_base.candidate.model_copy(update={"figures": figures})
        changes = {"name": name, "role": role, "texts": int(counts.sum()), "candidate": model}
        results.append(of_base.model_copy(update={**changes, "difference": difference}))
    return base.model_copy(update={"sets": tuple(results), "resamples": resamples})


@cache
def _base() -> Evaluation:
    return evaluated(FakeModel(), FakeModel(), {"even": texts("even", 400, seed=1)})


def gate(candidate: Candidate, count: int, seed: int, *, resamples: int = RESAMPLES) -> Answer:
    """Return the gate's answer on one set of `count` texts."""
    counts = paired(*outcomes(candidate, count, np.random.default_rng([seed, count])))
    return decide(evaluation_of({"set": ("sample", counts)}, resamples), read_thresholds()).answer


def retrained(
    candidate: Candidate,
    seed: int,
    *,
    ratio: float,
    audit: int = 400,
    feedback: int = 1_000,
    old: int = 2_000,
    resamples: int = RESAMPLES,
) -> Answer:
    """Return the gate's answer after a retraining, with the check on the gain.

    Args:
        candidate: Candidate whose difference is the same on the old and the new texts.
        seed: Seed of all draws.
        ratio: Rate of feedback on correct answers, divided by that on wrong ones.
        audit: Number of texts in the audit sample.
        feedback: Number of held-out texts with feedback.
        old: Number of texts of the old domain.
        resamples: Draws of each interval.
    """
    rng = np.random.default_rng([seed, round(100 * ratio), audit])
    rate = 1 - candidate.accuracy + candidate.accuracy * ratio  # 1.5 times as many are enough
    label, champion, right = outcomes(candidate, round(1.5 * feedback / rate), rng)
    given = np.flatnonzero(rng.random(len(label)) < np.where(champion, ratio, 1.0))[:feedback]
    sets: dict[str, tuple[Role, Counts]] = {"old": ("sample", paired(*outcomes(candidate, old, rng)))}
    sets[f"{FEEDBACK}v"] = ("feedback", paired(label[given], champion[given], right[given]))
    if audit:
        sets[f"{AUDIT}v"] = ("audit", paired(*outcomes(candidate, audit, rng)))
    evaluation, thresholds = evaluation_of(sets, resamples), read_thresholds()
    checks = decide(evaluation, thresholds).checks
    required = read_retrain_bounds().gate
    return Verdict((*checks, gain(evaluation, "v", required, thresholds.overall))).answer


def _row(name: str, answers: Sequence[Answer]) -> str:
    counts = Counter(answers)
    shares = [f"{counts[of] / len(answers):.1%}" for of in ("passed", "not enough evidence", "refused")]
    return f"| {name} | {' | '.join(shares)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the requested table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_power", description=__doc__)
    parser.add_argument("--draws", type=int, default=500, help="evaluations of each cell (default: 500)")
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="draws of an interval (default: 10000)"
    )
    parser.add_argument("--feedback", action="store_true", help="after a retraining on feedback")
    args = parser.parse_args(arguments)
    seeds = range(args.draws)
    if args.feedback:
        print("| right : wrong | candidate | passed | not enough evidence | refused |")
        print("| --- " * 5 + "|")
        for ratio in (1.0, 0.5, 0.2, 0.1, 0.0):
            for points in (-2, -1, 0, 2):
                candidate = Candidate(points / 100)
                answers = [
                    retrained(candidate, seed, ratio=ratio, resamples=args.resamples) for seed in seeds
                ]
                print(_row(f"{ratio:g} | {points:+d} points", answers), flush=True)
        answers = [
            retrained(Candidate(0.02), seed, ratio=0.1, audit=0, resamples=args.resamples) for seed in seeds
        ]
        print(_row("0.1, no audit sample | +2 points", answers))
        return 0
    print("| texts | candidate | passed | not enough evidence | refused |\n" + "| --- " * 5 + "|")
    for count in (400, 1_000, 2_000, 4_000, 8_000):
        for points in (-2, -1, 0, 1, 2):
            print(
                _row(
                    f"{count:,} | {points:+d} points",
                    [gate(Candidate(points / 100), count, s, resamples=args.resamples) for s in seeds],
                )
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
