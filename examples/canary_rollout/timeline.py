"""Stages of a rollout with the requests in each, from a journal and request samples. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.rollout.state import Entry
from examples.canary_rollout.load import RequestSample

_ENDS = ("promoted", "rolled_back", "stopped")


@dataclass(frozen=True, slots=True)
class ObservedStage:
    """Time span of a rollout.

    Attributes:
        name: display name, for example "canary on 1 of 4".
        began_s: Unix time at which the pods were configured.
        applied_s: Unix time at which the last pod was done; None if the stage ended before.
        ended_s: Unix time at which the next stage began.
        reason: reason of its end.
    """

    name: str
    began_s: float
    applied_s: float | None
    ended_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """Statistics of the requests that were due in a stage.

    Attributes:
        stage: the stage.
        versions: successful answers by version.
        failures: other outcomes.
        p95_ms: p95 latency of the successful answers; None without any.
        canary_share: the canary's share of the successful answers after the pods were deployed; None without
            any.
    """

    stage: ObservedStage
    versions: Mapping[str, int]
    failures: Mapping[str, int]
    p95_ms: float | None
    canary_share: float | None


def stages(entries: Sequence[Entry], pods: int) -> Iterator[ObservedStage]:
    """Yield the stages of every rollout in a journal, in order.

    Args:
        entries: entries of complete rollouts.
        pods: number of pods of the deployment.
    """
    name, began_s, applied_s, steps, place = "", 0.0, None, [], 0
    for entry in entries:
        at, event = float(entry["at"]), entry["event"]
        if event == "observed":
            continue
        if event == "applied":
            applied_s = at
            continue
        if name:
            yield ObservedStage(name, began_s, applied_s, at, str(entry["reason"]))
        if event == "started":
            steps, place = entry["steps"], 0
        elif event == "advanced":
            place += 1
        began_s, applied_s = at, None
        if event in _ENDS:
            name = ""
        elif event == "promoting":
            name = "on all"
        elif event == "rolling_back":
            name = "rolled back"
        else:
            name = f"canary on {steps[place]['pods']} of {pods}"


def rows(
    entries: Sequence[Entry], samples: Sequence[RequestSample], pods: int, canary: str
) -> list[StageStatistics]:
    """Return every stage with the requests that were due in it.

    Args:
        entries: entries of one rollout.
        samples: all requests.
        pods: number of pods of the deployment.
        canary: version of the canary.
    """
    return [
        _row(stage, within(samples, stage.began_s, stage.ended_s), canary) for stage in stages(entries, pods)
    ]


def within(samples: Iterable[RequestSample], began_s: float, ended_s: float) -> list[RequestSample]:
    """Return the requests that were due in a time span."""
    return [sample for sample in samples if began_s <= sample.due_s < ended_s]


def p95_ms(samples: Iterable[RequestSample]) -> float | None:
    """Return the 95th percentile (nearest rank) of the successful answers' times; None without any."""
    times = sorted(sample.ms for sample in samples if sample.failure is None)
    return times[math.ceil(0.95 * len(times)) - 1] if times else None


def rates(samples: Sequence[RequestSample], step_s: float) -> tuple[list[float], Mapping[str, list[float]]]:
    """Return the successful answers per second by version, in time steps by when they were due.

    Returns:
        times: the middle of every step, seconds from the first request.
        rates: one series per version, in the order in which the versions first answered.
    """
    first = min(sample.due_s for sample in samples)
    count = int((max(sample.due_s for sample in samples) - first) / step_s) + 1
    series: dict[str, list[float]] = {}
    for sample in samples:
        if sample.failure is None:
            counts = series.setdefault(sample.version, [0.0] * count)
            counts[int((sample.due_s - first) / step_s)] += 1 / step_s
    return [(place + 0.5) * step_s for place in range(count)], series


def _row(stage: ObservedStage, samples: Sequence[RequestSample], canary: str) -> StageStatistics:
    right = [sample for sample in samples if sample.failure is None]
    placed = [
        s.version == canary for s in right if stage.applied_s is not None and s.due_s >= stage.applied_s
    ]
    return StageStatistics(
        stage,
        Counter(sample.version for sample in right),
        Counter(sample.failure for sample in samples if sample.failure is not None),
        p95_ms(samples),
        sum(placed) / len(placed) if placed else None,
    )
