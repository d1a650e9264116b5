"""Segments that turned: of each, the share of every label against its own past, or against all others."""

from collections.abc import Iterator

import numpy as np

from train.drift.findings import Measure
from train.drift.rates import fisher_p
from train.drift.shift import Counts, shares
from train.drift.thresholds import Thresholds
from train.drift.traffic import Traffic


def segments(traffic: Traffic, earlier: Traffic | None, thresholds: Thresholds) -> list[Measure]:
    """One measure a segment with enough rows.

    A segment is held against itself in the earlier window if it had enough rows there; if not, against all
    other segments of this window: then one that always was different is told as well.

    Args:
        traffic: Of the window.
        earlier: Of the same version before it, or None.
        thresholds: The bounds.
    """
    return list(_segments(traffic, earlier, thresholds))


def _segments(traffic: Traffic, earlier: Traffic | None, thresholds: Thresholds) -> Iterator[Measure]:
    least = thresholds.segments.min_rows
    everything = sum(traffic.segments.values(), np.zeros(len(traffic.labels), dtype=np.int64))
    for name, counts in traffic.segments.items():
        if counts.sum() < least:
            continue
        past = earlier.segments.get(name) if earlier else None
        if past is not None and past.sum() >= least:
            yield _measure(name, traffic.labels, counts, past, "before", thresholds)
        elif (everything - counts).sum() >= least:
            yield _measure(name, traffic.labels, counts, everything - counts, "in all others", thresholds)


def _measure(
    name: str, labels: tuple[str, ...], counts: Counts, other: Counts, where: str, thresholds: Thresholds
) -> Measure:
    moved = shares(counts) - shares(other)
    most = int(moved.argmax())
    effect = float(moved[most])
    p = 1.0  # A small effect never counts: its exact test, which takes longest in large segments, is spared.
    if effect >= thresholds.segments.label_share:
        p = fisher_p(int(counts[most]), int(counts.sum()), int(other[most]), int(other.sum()))
        # Of two labels one says it all; of more, the one that rose most was chosen among them.
        p = min(1.0, p * len(labels)) if len(labels) > 2 else p
    return Measure(
        check=name,
        kind="segment",
        effect=effect,
        bound=thresholds.segments.label_share,
        p=p,
        reason=f"the segment {name!r} turned: {shares(counts)[most]:.0%} {labels[most]} of {counts.sum():,} "
        f"answers, {shares(other)[most]:.0%} of {other.sum():,} {where}",
    )
