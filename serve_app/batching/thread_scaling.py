"""Size from which a batch that is alone on a CPU uses all cores, measured at warm-up.

The threads of a forward pass wait for each other after every step. For a short text that costs as much CPU
time as it saves, and if another process needs a core, all threads wait for the one that has none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

MIN_SPEEDUP = 1.3
"""Minimum ratio of the time on one lane's cores to the time on all cores that makes all cores worth it."""
_ROUNDS = 3

Size = TypeVar("Size")


def measure_min_parallel_tokens(
    run: Callable[[Size, bool], object],
    sizes: Sequence[tuple[int, Size]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Return the number of tokens from which all cores pay; infinity if they do not for any size.

    The two variants take turns and the fastest round of each counts, because other processes may disturb
    single rounds.

    Args:
        run: Computes a batch; the second argument is whether it uses all cores.
        sizes: Batches with their numbers of tokens, the smallest first.
        clock: Returns seconds of a monotonic clock.
    """
    for tokens, batch in sizes:
        seconds: dict[bool, float] = {False: math.inf, True: math.inf}
        for _ in range(_ROUNDS):
            for on_all_cores in seconds:
                began = clock()
                run(batch, on_all_cores)
                seconds[on_all_cores] = min(seconds[on_all_cores], clock() - began)
        if seconds[False] >= MIN_SPEEDUP * seconds[True]:
            return tokens
    return math.inf
