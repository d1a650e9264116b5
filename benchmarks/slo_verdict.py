"""`python -m benchmarks.slo_verdict`: how often the load test's verdict is PASS, by behavior of the service.

Each run is one measured window with its own seed: the load generator's arrival schedule, a simulated pod that
processes its requests in sequence, and the verdict's code on the answers.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from loadtest.response_check import ResponseCheck
from loadtest.results import MeasurementWindow, Sample, observe
from loadtest.schedule import ArrivalRate, Kind, arrivals
from loadtest.slo import SLO, SLOVerdict, evaluate_slo

WARMUP_S, TIMEOUT_S, LATE_S = 5.0, 10.0, 0.3
RIGHT, TIMED_OUT = ResponseCheck(None, "1", tokens=30), ResponseCheck("timeout")


@dataclass(frozen=True)
class ServiceScenario:
    """Service, and the load that is offered to it.

    Attributes:
        name: Name in the table.
        lost: Share of the requests without an answer.
        late: Share of the answers that take `LATE_S` longer.
        capacity: Requests per minute that a pod processes.
        unsent: Share of the schedule that a saturated load generator does not send.
        per_minute: Requests per minute offered to a pod.
        duration_s: Length of the measured window in seconds.
        pods: Number of pods.
        kind: Kind of arrivals.
    """

    name: str
    lost: float = 0.0
    late: float = 0.0
    capacity: float = 3000.0
    unsent: float = 0.0
    per_minute: float = 480.0
    duration_s: float = 60.0
    pods: int = 1
    kind: Kind = "poisson"


SERVICES = (
    ServiceScenario("answers each in 20 ms"),
    ServiceScenario("loses 2 %", lost=0.02),
    ServiceScenario("loses 0.5 %", lost=0.005),
    ServiceScenario("is 0.3 s late with 10 %", late=0.1),
    ServiceScenario("is 0.3 s late with 4 %", late=0.04),
    ServiceScenario("works off 420 a minute", capacity=420),
    ServiceScenario("is sent 70 % of the schedule", unsent=0.3),
)
LOADS: tuple[dict[str, Any], ...] = (
    {},
    {"duration_s": 20.0},
    {"pods": 4},
    {"kind": "constant"},
    {"per_minute": 600.0},
)


def verdict_of(world: ServiceScenario, seed: int) -> SLOVerdict:
    """Return the verdict on one window of a world."""
    end_s = WARMUP_S + world.duration_s
    chance = random.Random(f"service/{seed}")
    pace = ArrivalRate(world.per_minute, world.kind, seed)
    samples: list[Sample] = []
    unsent_due_s: list[float] = []
    for pod in range(world.pods):
        due = takewhile(lambda due_s: due_s < end_s, arrivals(pace, pod))
        sent_due_s: list[float] = []
        for due_s in due:
            (unsent_due_s if chance.random() < world.unsent else sent_due_s).append(due_s)
        samples += _served(world, sent_due_s, chance)
    window = MeasurementWindow(WARMUP_S, end_s, world.pods)
    seen = observe((sample.due_s for sample in samples), samples, window, unsent_due_s)
    return evaluate_slo(seen, SLO())


def passed(world: ServiceScenario, runs: int) -> int:
    """Return how many of `runs` windows get the verdict PASS."""
    return sum(verdict_of(world, seed).passed for seed in range(runs))


def _served(world: ServiceScenario, sent_due_s: Iterable[float], chance: random.Random) -> Iterator[Sample]:
    """Yield the answers of one pod to the requests that are sent to it."""
    free_s = 0.0
    for due_s in sent_due_s:
        if chance.random() < world.lost:
            yield Sample(due_s, due_s, due_s + TIMEOUT_S, TIMED_OUT)
            continue
        free_s = max(free_s, due_s) + 60 / world.capacity
        done_s = free_s + (LATE_S if chance.random() < world.late else 0.0)
        yield Sample(due_s, due_s, done_s, RIGHT)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slo_verdict", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=300, metavar="N", help="windows of each cell (default: %(default)s)"
    )
    runs = parser.parse_args().runs
    print("| the service | " + " | ".join(_load(replace(SERVICES[0], **load)) for load in LOADS) + " |")
    print("|---|" + "---|" * len(LOADS))
    for service in SERVICES:
        counts = (passed(replace(service, **load), runs) for load in LOADS)
        print(
            f"| {service.name} | " + " | ".join(f"{count} of {runs}" for count in counts) + " |", flush=True
        )


def _load(world: ServiceScenario) -> str:
    pods = f", {world.pods} pods" if world.pods > 1 else ""
    return f"{world.per_minute:g}/min, {world.kind}, {world.duration_s:g} s{pods}"


if __name__ == "__main__":
    main()
