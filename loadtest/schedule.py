"""Arrival schedule of requests: open-loop, fixed before the first answer arrives.

A caller that waits for an answer before it sends again slows down with the service and so hides its overload
("coordinated omission"). Here the arrivals are a sequence of times that no answer can change.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["poisson", "constant"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class ArrivalRate:
    """Rate and regularity of one pod's requests.

    Attributes:
        per_minute: Mean number of requests per minute offered to one pod, > 0.
        kind: `poisson`: as from many independent callers, in bursts and gaps; `constant`: evenly spaced.
        seed: Seed of the schedule.
    """

    per_minute: float
    kind: Kind
    seed: int


def arrivals(pace: ArrivalRate, pod: int) -> Iterator[float]:
    """Yield without end the times at which one pod's requests are due.

    Args:
        pace: The rate and its regularity.
        pod: Number of the pod, 0 or more: each pod has its own schedule, so that pods do not send at the same
            times.

    Yields:
        Seconds since the start of the schedule, never decreasing.
    """
    rng = random.Random(f"{pace.seed}/{pod}")
    mean_gap_s = 60 / pace.per_minute
    if pace.kind == "constant":
        due_s = rng.random() * mean_gap_s
        while True:
            yield due_s
            due_s += mean_gap_s
    due_s = 0.0
    while True:
        due_s += rng.expovariate(1 / mean_gap_s)
        yield due_s


def in_flight_bound(pace: ArrivalRate, timeout_s: float) -> int:
    """Return how many requests of one pod can be open at once, so that none must wait to be sent.

    No request outlives its timeout, so at most those of the last `timeout_s` are open: Little's law with the
    longest stay. Poisson arrivals vary around that mean by its square root; six of those plus ten cover it.
    """
    mean = pace.per_minute / 60 * timeout_s
    return math.ceil(mean + 6 * math.sqrt(mean) + 10)
