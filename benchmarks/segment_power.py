"""`python -m benchmarks.segment_power`: rates at which unchanged and changed segments are reported.

The simulated worlds deviate from the model of the test: a segment's share varies from day to day on the logit
scale, all segments vary together, or some vary more than others. Sizes have a Poisson distribution, and there
are 20 or 200 segments.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from tests.unit.train.drift.builders import reference, traffic
from train.drift.detector import judge
from train.drift.results import Report
from train.drift.thresholds import read_thresholds

PERIODS = 14


@dataclass(frozen=True)
class SegmentScenario:
    """Model of how the negative share of segments moves from day to day.

    Attributes:
        name: name in the table.
        own: standard deviation of each segment's own movement, on the logit scale.
        common: standard deviation of the movement of all segments together.
        unequal: whether half of the segments move by 0.4 and the others by 1.5 times `own`.
        share: mean of every segment; None: beta(2, 8), a different one for each.
        sizes: mean number of texts per segment and day, minimum and maximum.
    """

    name: str
    own: float = 0.0
    common: float = 0.0
    unequal: bool = False
    share: float | None = None
    sizes: tuple[int, int] = (10, 100)


WORLDS = (
    SegmentScenario("no variation"),
    SegmentScenario("own movement 0.3", own=0.3),
    SegmentScenario("own 0.5, common 0.2", own=0.5, common=0.2),
    SegmentScenario("own 0.8", own=0.8),
    SegmentScenario("own 0.2 or 0.75, common 0.2", own=0.5, common=0.2, unequal=True),
)


def window(
    world: SegmentScenario, segments: int, rng: np.random.Generator, *, turned: float | None = None
) -> Report:
    """Evaluate one window after `PERIODS` days; `turned` is a new share of the first segment."""
    base = rng.beta(2, 8, segments) if world.share is None else np.full(segments, world.share)
    own = world.own * (rng.choice([0.4, 1.5], segments) if world.unequal else np.ones(segments))
    sizes = rng.integers(world.sizes[0], world.sizes[1] + 1, segments)
    texts = np.maximum(rng.poisson(sizes[:, None], (segments, PERIODS + 1)), 1)
    if world.sizes[0] == world.sizes[1]:
        texts[:] = world.sizes[0]
    logits = np.repeat(special.logit(base)[:, None], PERIODS + 1, axis=1)
    if turned is not None:
        logits[0, -1] = special.logit(turned)
    logits += own[:, None] * rng.normal(size=logits.shape) + world.common * rng.normal(size=PERIODS + 1)
    negative = rng.binomial(texts, special.expit(logits))
    counts = np.stack([negative, texts - negative], axis=2)
    history = {f"product {i}": counts[i, :-1] for i in range(segments)}
    now = {f"product {i}": counts[i, -1].tolist() for i in range(segments)}
    return judge(reference(), traffic(segments=now), read_thresholds(), history=history)


def alarms(world: SegmentScenario, segments: int, windows: int, seed: int = 0) -> float:
    """Return the share of unchanged windows in which any segment is named."""
    rng = np.random.default_rng(seed)
    return sum(bool(window(world, segments, rng).segments) for _ in range(windows)) / windows


def found(
    world: SegmentScenario, segments: int, windows: int, *, turned: float = 0.35, seed: int = 0
) -> float:
    """Return the share of windows in which the changed segment is named."""
    rng = np.random.default_rng(seed)
    reports = (window(world, segments, rng, turned=turned) for _ in range(windows))
    return sum(any(of.check == "product 0" for of in report.segments) for report in reports) / windows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segment_power", description=__doc__)
    parser.add_argument("--windows", type=int, default=1_000, help="windows of each cell (default: 1000)")
    windows = parser.parse_args(arguments).windows
    print("| unchanged windows that alarm | 20 segments | 200 segments |\n| --- | --- | --- |")
    for world in WORLDS:
        cells = [f"{alarms(world, segments, windows):.1%}" for segments in (20, 200)]
        print(f"| {world.name} | {' | '.join(cells)} |", flush=True)
    print("\n| texts of each of 20 segments | no variation | own movement 0.3 |\n| --- | --- | --- |")
    for size in (25, 35, 50, 100, 500):
        worlds = [SegmentScenario("", own=own, share=0.05, sizes=(size, size)) for own in (0.0, 0.3)]
        print(
            f"| {size} | {' | '.join(f'{found(world, 20, windows):.1%}' for world in worlds)} |", flush=True
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
