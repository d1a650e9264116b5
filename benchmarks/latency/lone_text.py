"""Lone texts on the CPU: `python -m benchmarks.latency.lone_text`.

Compares numbers of threads and the two ways in which OpenMP threads wait, in turns, optionally next to
processes that take a core each. Every figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

_WAITING = {"spinning": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
_TOKENS = (12, 60, 200)


def main() -> int:
    """Print one row for each way of waiting, number of threads and length."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency.lone_text", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="ROUNDS", help="number of rounds (default: 5)"
    )
    parser.add_argument("--texts", type=int, default=20, metavar="TEXTS", help="texts a round (default: 20)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], metavar="THREADS", help="thread counts"
    )
    parser.add_argument(
        "--busy", type=int, default=0, metavar="PROCESSES", help="busy processes (default: 0)"
    )
    args = parser.parse_args()
    rows: dict[tuple[str, int, int], list[dict[str, Any]]] = defaultdict(list)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(variables)) for name, variables in _WAITING.items()}
        for _ in range(args.busy):
            stack.enter_context(_process([sys.executable, "-c", "while True: pass"]))
        for _ in range(args.rounds):
            for tokens in _TOKENS:
                for threads in args.threads:
                    for name, worker in workers.items():
                        request = {"tokens": tokens, "threads": threads, "texts": args.texts}
                        rows[name, threads, tokens].append(_measure(worker, request))
    print(f"{'waiting':10} {'threads':>7} {'tokens':>6} {'CPU ms':>7} {'p50 ms':>7} {'p95 ms':>7}")
    for (name, threads, tokens), results in sorted(rows.items(), key=lambda row: row[0][2]):
        cpu_ms = statistics.median(result["cpu_ms"] for result in results)
        p50, p95 = (
            statistics.median(np.quantile(result["latencies_ms"], q) for result in results)
            for q in (0.5, 0.95)
        )
        print(f"{name:10} {threads:7} {tokens:6} {cpu_ms:7.1f} {p50:7.1f} {p95:7.1f}")
    return 0


@contextmanager
def _worker(variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.latency.worker"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    with _process(command, env=environment | variables) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()  # the model is loaded
        yield worker


@contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def _measure(worker: subprocess.Popen[str], request: dict[str, int]) -> dict[str, Any]:
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(json.dumps(request) + "\n")
    worker.stdin.flush()
    result: dict[str, Any] = json.loads(worker.stdout.readline())
    return result


if __name__ == "__main__":
    raise SystemExit(main())
