"""`python -m benchmarks.drift_power`: rates of detected drift and of false alarms.

The reference is the built-in model's profile of SST-2 texts. Windows are drawn from texts that are not in it:
from the same set (no drift to detect), from other sets, and with changed labels or a changed segment. The
first run takes minutes to compute the predictions of all texts; later runs read them from a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.drift_pools import (
    LABELS,
    SIZES,
    TEMPERATURE,
    UNKNOWN_TOKEN,
    Pool,
    joined,
    read_pools,
    texts_of,
)
from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from tests.labelled import labelled_texts
from train.drift.detector import Samples, judge
from train.drift.mmd import Embedded, answered
from train.drift.reference import DriftReference
from train.drift.results import CheckResult, Report
from train.drift.statistics import TokenSums
from train.drift.thresholds import read_thresholds
from train.drift.window import SegmentHistory, WindowStatistics
from train.model_uri import CACHE
from train.profile import SAMPLE_TEXTS, build_profile, length_histogram, score_histogram

REFERENCE, REFERENCE_TEXTS = "sst2_train", 2_000
SEGMENTS = 20
PRAISED = 0.05
"""Share of negative predictions in the segment checks: in the reference and in every unchanged segment."""
TURNED = 0.35
PERIODS = 14
"""Number of past periods of the segments."""
SEGMENT, FIRST = "product {}", "product 0"
NEGATIVE = LABELS.index("NEGATIVE")

Segments = npt.NDArray[np.int64] | None
Draw = Callable[[int, np.random.Generator], tuple[Pool, Segments]]


@dataclass(frozen=True)
class Known:
    """Reference, and the model's answers to its sample."""

    reference: DriftReference
    sample: Embedded


@dataclass(frozen=True)
class WindowKind:
    """Kind of window, and what it is compared with."""

    windows: str
    known: Known
    draw: Draw
    usual: Draw | None = None
    """Function that draws the past of the segments: windows of the same size in which none has changed."""
    turned: bool = False
    """Whether the window counts as detected only if the first segment is named."""


@dataclass(frozen=True)
class WindowCounts:
    """Counts of windows of one kind and size."""

    windows: str
    texts: int
    draws: int
    noticed: int
    retrain: int
    by: dict[str, int]
    """Number of windows in which each check raised an alarm."""
    effects: dict[str, list[float]]
    """Effect size of each check: minimum, median and maximum."""
    accuracy: list[float]
    """Median accuracies: the true one, the estimate by mean score, and the estimate by threshold."""


def main() -> int:
    """Draw and evaluate the windows, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_power", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of labelled texts (DATA_DIR)")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 200, 500, 1000])
    parser.add_argument("--only", default="", metavar="PART", help="kinds of windows with this in their name")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    data = options.data or labelled_texts()
    if data is None:
        raise SystemExit("no labelled texts: give --data a folder with sst2_train.parquet and the others")
    rows = [
        measure(kind, size, options.draws)
        for kind in kinds(data)
        if options.only in kind.windows
        for size in options.sizes
    ]
    print(table(rows, options.sizes))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


def kinds(data: Path) -> list[WindowKind]:
    """Return every kind of window."""
    pools = read_pools(data)
    bundle = resolver.fetch("builtin:", cache_dir=CACHE)
    classifier = Classifier(bundle, threads=1)
    texts, _ = texts_of(REFERENCE, data, SIZES[REFERENCE])
    ids = [text.ids for text in classifier.preprocess(texts[:REFERENCE_TEXTS])]

    def known(rows: npt.NDArray[np.int64]) -> Known:
        """Return the profile as a fit writes it into a bundle and as a drift check reads it."""
        pool = pools[REFERENCE].rows(rows)
        profile, embeddings = build_profile(
            [ids[row] for row in rows],
            pool.logits,
            pool.embeddings.astype(np.float32),
            pool.truth.tolist(),
            labels=LABELS,
            temperature=TEMPERATURE,
            unknown_token=UNKNOWN_TOKEN,
        )
        right = int((pool.answers == pool.truth).sum())
        reference = DriftReference("builtin-sentiment", "1", profile, embeddings, right, len(pool))
        return Known(reference, answered(classifier, embeddings))

    own = pools[REFERENCE].rows(slice(REFERENCE_TEXTS, None))
    truth = pools[REFERENCE].truth[:REFERENCE_TEXTS]
    praised = np.flatnonzero(truth != NEGATIVE)
    blamed = np.flatnonzero(truth == NEGATIVE)[: round(len(praised) * PRAISED / (1 - PRAISED))]
    mixed, mostly_praised = known(np.arange(REFERENCE_TEXTS)), known(np.concatenate([praised, blamed]))
    by_truth, by_answers = _in_segments(own, own.truth, PRAISED), _in_segments(own, own.answers, PRAISED)
    more_negative = float((own.truth == NEGATIVE).mean()) + 0.15
    return [
        WindowKind("the reference's own domain", mixed, lambda size, rng: (_some(own, size, rng), None)),
        WindowKind("the same, 5 % negative, in 20 segments", mostly_praised, by_truth, by_truth),
        *(WindowKind(name, mixed, partial(_of_domain, pools[name])) for name in pools if name != REFERENCE),
        WindowKind(
            "negative share up by 15 points",
            mixed,
            lambda size, rng: (_mixed(own, own.truth, size, more_negative, rng), None),
        ),
        WindowKind(
            "one segment of 20 turned (by its answers)",
            mostly_praised,
            _in_segments(own, own.answers, TURNED),
            by_answers,
            turned=True,
        ),
        WindowKind(
            "one segment of 20 turned (by the truth)",
            mostly_praised,
            _in_segments(own, own.truth, TURNED),
            by_truth,
            turned=True,
        ),
    ]


def measure(kind: WindowKind, size: int, draws: int) -> WindowCounts:
    """Evaluate `draws` windows."""
    thresholds = read_thresholds()
    history = _history(kind.usual, size) if kind.usual else None
    reports: list[Report] = []
    right: list[float] = []
    for seed in range(draws):
        pool, segment = kind.draw(size, np.random.default_rng(seed))
        current = Embedded(pool.embeddings[:SAMPLE_TEXTS], pool.answers[:SAMPLE_TEXTS])
        samples = Samples(kind.known.sample, current)
        right.append(float((pool.answers == pool.truth).mean()))
        traffic = traffic_of(pool, segment)
        reports.append(judge(kind.known.reference, traffic, thresholds, samples=samples, history=history))
    noticed = [
        any(found.check == FIRST for found in of.segments) if kind.turned else of.verdict != "ok"
        for of in reports
    ]
    found: dict[str, list[CheckResult]] = {}
    for finding in (finding for of in reports for finding in of.findings):
        found.setdefault(finding.check, []).append(finding)
    row = WindowCounts(
        kind.windows,
        size,
        draws,
        noticed=sum(noticed),
        retrain=sum(of.verdict == "retrain" for of in reports),
        by={check: sum(one.level != "ok" for one in of_check) for check, of_check in found.items()}
        | {"segments": sum(bool(of.segments) for of in reports)},
        effects={
            check: [round(float(np.quantile([one.effect for one in of_check], q)), 4) for q in (0, 0.5, 1)]
            for check, of_check in found.items()
        },
        accuracy=[
            round(statistics.median(values), 3)
            for values in (
                right,
                [of.accuracy.by_mean_score or 0.0 for of in reports],
                [of.accuracy.by_threshold or 0.0 for of in reports],
            )
        ],
    )
    print(row, file=sys.stderr, flush=True)
    return row


def table(rows: Sequence[WindowCounts], sizes: Sequence[int]) -> str:
    """Return a Markdown table of the detection rates by kind and size, and of the accuracies.

    A cell also contains the rate of the verdict `retrain`.
    """
    lines = [
        "| windows | " + " | ".join(f"{size:,} texts" for size in sizes) + " | spoke up at the last size |"
    ]
    lines.append("| --- " * (len(sizes) + 2) + "|")
    for begin in range(0, len(rows), len(sizes)):
        of_kind = rows[begin : begin + len(sizes)]
        cells = [
            f"{row.noticed}/{row.draws}" + (f" ({row.retrain})" if row.retrain else "") for row in of_kind
        ]
        by = ", ".join(f"{check} {count}" for check, count in of_kind[-1].by.items() if count)
        lines.append("| " + " | ".join([of_kind[0].windows, *cells, by]) + " |")
    lines += ["", "| windows of the last size | accuracy | by the mean score | by the threshold |"]
    lines.append("| --- | --- | --- | --- |")
    for row in rows[len(sizes) - 1 :: len(sizes)]:
        lines.append("| " + " | ".join([row.windows, *(f"{value:.3f}" for value in row.accuracy)]) + " |")
    return "\n".join(lines)


def _cell(row: WindowCounts) -> str:
    return f"{row.noticed}/{row.draws}" + (f" ({row.retrain})" if row.retrain else "")


def traffic_of(pool: Pool, segment: Segments) -> WindowStatistics:
    """Return the texts of a pool as traffic in the log's format."""
    scores = np.exp(pool.logits.astype(np.float64) / TEMPERATURE)
    top = (scores / scores.sum(axis=1, keepdims=True)).max(axis=1)
    names = range(SEGMENTS) if segment is not None else ()
    return WindowStatistics(
        labels=LABELS,
        answers=np.bincount(pool.answers, minlength=len(LABELS)),
        lengths=np.array(length_histogram(pool.tokens).counts),
        top_scores=np.array(score_histogram(top).counts),
        tokens=TokenSums(
            len(pool),
            int(pool.tokens.sum()),
            int(pool.unknown.sum()),
            int(pool.tokens @ pool.tokens),
            int(pool.unknown @ pool.unknown),
            int(pool.tokens @ pool.unknown),
        ),
        segments={
            SEGMENT.format(i): np.bincount(pool.answers[segment == i], minlength=len(LABELS)) for i in names
        },
    )


def _history(usual: Draw, size: int) -> SegmentHistory:
    rng = np.random.default_rng(10_000)
    windows = [traffic_of(*usual(size, rng)).segments for _ in range(PERIODS)]
    return {name: np.stack([window[name] for window in windows]) for name in windows[0]}


def _some(pool: Pool, size: int, rng: np.random.Generator) -> Pool:
    return pool.rows(rng.permutation(len(pool))[:size])


def _of_domain(pool: Pool, size: int, rng: np.random.Generator) -> tuple[Pool, Segments]:
    return _some(pool, size, rng), None


def _in_segments(pool: Pool, labels: npt.NDArray[np.int64], first: float) -> Draw:
    """Return a function that draws segments of equal size.

    `first` is the share of negative `labels` in the first segment.
    """

    def draw(size: int, rng: np.random.Generator) -> tuple[Pool, Segments]:
        each = size // SEGMENTS
        negative = [first] + [PRAISED] * (SEGMENTS - 1)
        pools = [_mixed(pool, labels, each, share, rng) for share in negative]
        segment = np.repeat(np.arange(SEGMENTS), each)
        order = rng.permutation(len(segment))  # only the first texts are embedded
        return joined(pools).rows(order), segment[order]

    return draw


def _mixed(
    pool: Pool, labels: npt.NDArray[np.int64], size: int, negative: float, rng: np.random.Generator
) -> Pool:
    """Return texts that are each negative with a given probability."""
    count = rng.binomial(size, negative)
    bad, good = np.flatnonzero(labels == NEGATIVE), np.flatnonzero(labels != NEGATIVE)
    chosen = [rng.choice(bad, count, replace=False), rng.choice(good, size - count, replace=False)]
    return pool.rows(rng.permutation(np.concatenate(chosen)))


if __name__ == "__main__":
    raise SystemExit(main())
