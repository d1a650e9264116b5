"""`python -m tests.bench.drift_power`: how often drift is noticed, and how often wrongly.

The reference is a profile of SST-2 texts by the built-in model. Windows are drawn from texts that are not in
it: from the same set (nothing may be noticed), from others, and with labels or a segment turned. The first
run takes minutes to ask the model about every text; later ones find its answers in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve_app.model import store
from serve_app.model.classifier import Classifier
from tests.bench.drift_pools import (
    LABELS,
    SIZES,
    TEMPERATURE,
    UNKNOWN_TOKEN,
    Pool,
    joined,
    read_pools,
    texts_of,
)
from tests.labelled import labelled_texts
from train.drift.embedding import answered
from train.drift.findings import Finding, Report
from train.drift.judge import Samples, judge
from train.drift.mmd import Embedded
from train.drift.rates import TokenSums
from train.drift.reference import Reference
from train.drift.segments import SegmentHistory
from train.drift.thresholds import read_thresholds
from train.drift.traffic import Traffic
from train.models import CACHE
from train.profile import SAMPLE_TEXTS, build_profile, length_histogram, score_histogram

REFERENCE, REFERENCE_TEXTS = "sst2_train", 2_000
SEGMENTS = 20
PRAISED = 0.05
"""Negative share where segments are looked at: of the reference, and of every segment that has not turned."""
TURNED = 0.35
PERIODS = 14
"""Of the segments' past."""
SEGMENT, FIRST = "product {}", "product 0"
NEGATIVE = LABELS.index("NEGATIVE")

Segments = npt.NDArray[np.int64] | None
Draw = Callable[[int, np.random.Generator], tuple[Pool, Segments]]


@dataclass(frozen=True)
class Known:
    """A reference, and its sample as the model sees it."""

    reference: Reference
    sample: Embedded


@dataclass(frozen=True)
class Kind:
    """One kind of window, and what it is held against."""

    windows: str
    known: Known
    draw: Draw
    usual: Draw | None = None
    """Draws the segments' past: windows of the same size in which none has turned."""
    turned: bool = False
    """Whether the first segment must be named for the window to be noticed."""


@dataclass(frozen=True)
class Row:
    """One kind of window at one size; counts of windows."""

    windows: str
    texts: int
    draws: int
    noticed: int
    retrain: int
    by: dict[str, int]
    """Where each check spoke up."""
    effects: dict[str, list[float]]
    """Of each check: least, median and greatest."""
    accuracy: list[float]
    """Medians: as it was, by the mean score, by the threshold."""


def main() -> int:
    """Draw, judge and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drift_power", description=__doc__)
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


def kinds(data: Path) -> list[Kind]:
    """Every kind of window."""
    pools = read_pools(data)
    bundle = store.fetch("builtin:", cache_dir=CACHE)
    classifier = Classifier(bundle, threads=1)
    texts, _ = texts_of(REFERENCE, data, SIZES[REFERENCE])
    ids = [text.ids for text in classifier.preprocess(texts[:REFERENCE_TEXTS])]

    def known(rows: npt.NDArray[np.int64]) -> Known:
        """As a fit writes the profile of texts into a bundle, and as a run reads it."""
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
        reference = Reference("builtin-sentiment", "1", profile, embeddings, right, len(pool))
        return Known(reference, answered(classifier, embeddings))

    own = pools[REFERENCE].rows(slice(REFERENCE_TEXTS, None))
    truth = pools[REFERENCE].truth[:REFERENCE_TEXTS]
    praised = np.flatnonzero(truth != NEGATIVE)
    blamed = np.flatnonzero(truth == NEGATIVE)[: round(len(praised) * PRAISED / (1 - PRAISED))]
    mixed, mostly_praised = known(np.arange(REFERENCE_TEXTS)), known(np.concatenate([praised, blamed]))
    by_truth, by_answers = _in_segments(own, own.truth, PRAISED), _in_segments(own, own.answers, PRAISED)
    more_negative = float((own.truth == NEGATIVE).mean()) + 0.15
    return [
        Kind("the reference's own domain", mixed, lambda size, rng: (_some(own, size, rng), None)),
        Kind("the same, 5 % negative, in 20 segments", mostly_praised, by_truth, by_truth),
        *(
            Kind(name, mixed, lambda size, rng, pool=pools[name]: (_some(pool, size, rng), None))
            for name in pools
            if name != REFERENCE
        ),
        Kind(
            "negative share up by 15 points",
            mixed,
            lambda size, rng: (_mixed(own, own.truth, size, more_negative, rng), None),
        ),
        Kind(
            "one segment of 20 turned (by its answers)",
            mostly_praised,
            _in_segments(own, own.answers, TURNED),
            by_answers,
            turned=True,
        ),
        Kind(
            "one segment of 20 turned (by the truth)",
            mostly_praised,
            _in_segments(own, own.truth, TURNED),
            by_truth,
            turned=True,
        ),
    ]


def measure(kind: Kind, size: int, draws: int) -> Row:
    """Judge so many windows."""
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
    found: dict[str, list[Finding]] = {}
    for finding in (finding for of in reports for finding in of.findings):
        found.setdefault(finding.check, []).append(finding)
    row = Row(
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


def table(rows: Sequence[Row], sizes: Sequence[int]) -> str:
    """Markdown: how often each kind was noticed by size (and the verdict `retrain`); the accuracies."""
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


def _cell(row: Row) -> str:
    return f"{row.noticed}/{row.draws}" + (f" ({row.retrain})" if row.retrain else "")


def traffic_of(pool: Pool, segment: Segments) -> Traffic:
    """A pool's texts as the traffic that the log would give."""
    scores = np.exp(pool.logits.astype(np.float64) / TEMPERATURE)
    top = (scores / scores.sum(axis=1, keepdims=True)).max(axis=1)
    names = range(SEGMENTS) if segment is not None else ()
    return Traffic(
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


def _in_segments(pool: Pool, labels: npt.NDArray[np.int64], first: float) -> Draw:
    """Segments of equal size; the negative share, by `labels`, of the first one is `first`."""

    def draw(size: int, rng: np.random.Generator) -> tuple[Pool, Segments]:
        each = size // SEGMENTS
        negative = [first] + [PRAISED] * (SEGMENTS - 1)
        pools = [_mixed(pool, labels, each, share, rng) for share in negative]
        segment = np.repeat(np.arange(SEGMENTS), each)
        order = rng.permutation(len(segment))  # the first texts are those that are embedded
        return joined(pools).rows(order), segment[order]

    return draw


def _mixed(
    pool: Pool, labels: npt.NDArray[np.int64], size: int, negative: float, rng: np.random.Generator
) -> Pool:
    """Texts of which each is negative with a chance."""
    count = rng.binomial(size, negative)
    bad, good = np.flatnonzero(labels == NEGATIVE), np.flatnonzero(labels != NEGATIVE)
    chosen = [rng.choice(bad, count, replace=False), rng.choice(good, size - count, replace=False)]
    return pool.rows(rng.permutation(np.concatenate(chosen)))


if __name__ == "__main__":
    raise SystemExit(main())
