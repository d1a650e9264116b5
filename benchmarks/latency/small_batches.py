"""Few connections, in process: `python -m benchmarks.latency.small_batches`.

Clients in a closed loop send one text each to a batcher. Compares two batchers in turns: one gives a batch
without followers the entire device, the other one lane. Prints requests per second and CPU time per request,
medians over the rounds, and the median ratio of the rounds. OMP_WAIT_POLICY is that of the environment.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import statistics
import time
from collections.abc import Sequence

from benchmarks.latency.models import load_recorded
from serve_app.batching.admission import BatchLimits
from serve_app.batching.batcher import Batcher
from serve_app.model.scorer import WARM_UP_TEXT, EncodedText, Scorer, use_threads

_CONNECTIONS = (1, 2, 4, 8)
_LENGTHS = (1, 3, 1, 8, 2, 1, 12, 2)  # of the texts, about 10 tokens each
_MIN_PARALLEL_TOKENS = {"entire device": 0.0, "one lane": math.inf}


def main() -> int:
    """Measure every number of connections."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency.small_batches", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="ROUNDS", help="rounds (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="seconds a turn (default: 1)")
    parser.add_argument("--threads", type=int, default=2, metavar="THREADS", help="threads (default: 2)")
    args = parser.parse_args()
    asyncio.run(_compare(args.rounds, args.seconds, args.threads))
    return 0


async def _compare(rounds: int, seconds: float, threads: int) -> None:
    classifier = load_recorded()
    items = classifier.preprocess([times * WARM_UP_TEXT for times in _LENGTHS])
    print(f"{statistics.mean(item.tokens for item in items):.0f} tokens on average, {threads} lanes")
    batchers = {name: _batcher(classifier, threads, of) for name, of in _MIN_PARALLEL_TOKENS.items()}
    for connections in _CONNECTIONS:
        rates: dict[str, list[float]] = {name: [] for name in batchers}
        cpu_ms: dict[str, list[float]] = {name: [] for name in batchers}
        for _ in range(rounds):
            for name, batcher in batchers.items():
                rate, cpu = await _closed_loop(batcher, items, connections, seconds)
                rates[name].append(rate)
                cpu_ms[name].append(cpu)
        for name in batchers:
            print(
                f"{connections} connections, {name:14} {statistics.median(rates[name]):6.1f} requests/s, "
                f"CPU {statistics.median(cpu_ms[name]):5.1f} ms per request"
            )
        before, after = rates.values()
        ratio = statistics.median(b / a for a, b in zip(before, after, strict=True))
        print(f"{connections} connections, one lane over entire device: {ratio:.2f}", flush=True)
    for batcher in batchers.values():
        await batcher.close()


def _batcher(
    classifier: Scorer, threads: int, min_parallel_tokens: float
) -> Batcher[EncodedText, list[float]]:
    def forward(batch: Sequence[EncodedText], is_alone: bool) -> list[list[float]]:
        use_threads(threads if is_alone else 1)
        return classifier.forward(batch)

    limits = BatchLimits(max_batch_tokens=512, max_queue_wait_s=1000)
    return Batcher(forward, limits, lanes=threads, min_parallel_tokens=min_parallel_tokens)


async def _closed_loop(
    batcher: Batcher[EncodedText, list[float]], items: Sequence[EncodedText], connections: int, seconds: float
) -> tuple[float, float]:
    """Return requests per second, and ms of CPU time per request."""
    texts = itertools.cycle(items)
    done = 0
    began, cpu_before_s = time.monotonic(), time.process_time()

    async def client() -> None:
        nonlocal done
        while time.monotonic() - began < seconds:
            await batcher.submit([next(texts)])
            done += 1

    await asyncio.gather(*(client() for _ in range(connections)))
    elapsed_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_before_s
    return done / elapsed_s, 1000 * cpu_s / done


if __name__ == "__main__":
    raise SystemExit(main())
