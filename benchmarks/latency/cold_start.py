"""Cold start without Ray: `python -m benchmarks.latency.cold_start`.

Starts processes in turns that load the built-in model with transformers or from its recording, and answer one
text. Prints the time from process start to the answer, the CPU time, and the peak memory of each process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

_LOADERS = ("load_with_transformers", "load_recorded")
_CODE = """
from benchmarks.latency.models import {loader}
classifier = {loader}()
print(classifier.forward(classifier.preprocess(["I love this cream"])), flush=True)
"""


def main() -> int:
    """Print each round, and the medians with their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency.cold_start", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="ROUNDS", help="number of rounds (default: 3)"
    )
    args = parser.parse_args()
    walls_s: dict[str, list[float]] = defaultdict(list)
    cpus_s: dict[str, list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        answers = set()
        for loader in _LOADERS:
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-c", _CODE.format(loader=loader)], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            answers.add(process.stdout.readline())
            wall_s = time.monotonic() - began
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            cpu_s = usage.ru_utime + usage.ru_stime
            walls_s[loader].append(wall_s)
            cpus_s[loader].append(cpu_s)
            print(
                f"{loader:24} {wall_s:6.2f} s, CPU {cpu_s:5.2f} s, {usage.ru_maxrss / 1024:5.0f} MiB",
                flush=True,
            )
        print("same answers" if len(answers) == 1 else f"answers differ: {answers}", flush=True)
    for name, seconds in (("process start to answer", walls_s), ("CPU time", cpus_s)):
        before, after = (statistics.median(seconds[loader]) for loader in _LOADERS)
        print(f"{name}: {before:.2f} s -> {after:.2f} s, ratio {before / after:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
