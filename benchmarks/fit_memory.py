"""`python -m benchmarks.fit_memory`: peak memory of `train fit` for one and for ten times the texts.

Each run reads and tokenizes all texts, trains for a few steps and scores the held-out fiftieth. The measured
figure is the peak of the summed private memory (USS) of the command and its Ray workers. It excludes Ray's
own processes and the object store, whose size is configured.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from loadtest.synthetic_texts import invent

_DISTINCT = 5_000
_RAYS_OWN = ("raylet", "gcs_server", "dashboard", "log_monitor", "runtime_env", "agent")


def main() -> int:
    """Measure both sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=50_000, help="of the smaller run (default 50,000)")
    parser.add_argument("--base", default="builtin:")
    options = parser.parse_args()
    print("| texts | file | most private memory | seconds |\n| --- | --- | --- | --- |")
    for texts in (options.texts, 10 * options.texts):
        with tempfile.TemporaryDirectory() as folder:
            path = write_texts(Path(folder) / "texts.csv", texts)
            size_mb = path.stat().st_size / 1e6
            begun_s = time.monotonic()
            peak_mb = measure(path, Path(folder) / "run", options.base)
            seconds = time.monotonic() - begun_s
        print(f"| {texts:,} | {size_mb:.0f} MB | {peak_mb:,.0f} MB | {seconds:.0f} |", flush=True)
    return 0


def write_texts(path: Path, count: int) -> Path:
    """Write a CSV of generated texts, each made unique by its number."""
    texts = [text.replace('"', "'").replace("\n", " ") for text in invent(_DISTINCT, 0)]
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(count):
            label = rng.choice(("NEGATIVE", "POSITIVE"))
            file.write(f'"{rng.choice(texts)} {number}",{label}\n')
    return path


def measure(data: Path, out: Path, base: str) -> float:
    """Return the peak private memory of one run in MB."""
    command = [sys.executable, "-m", "train", "fit", "--data", str(data), "--base", base, "--out", str(out)]
    command += ["--epochs", "1", "--max-steps", "10", "--held-out", "0.02"]
    command += ["--set", "progress.sample_texts=50"]
    log = out.with_suffix(".log")
    with log.open("wb") as output:
        run = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        )
        most = 0
        while run.poll() is None:
            most = max(most, private_bytes(psutil.Process(run.pid)))
            time.sleep(0.5)
    if run.returncode:
        raise SystemExit(log.read_text()[-3000:])
    return most / 1e6


def private_bytes(process: psutil.Process) -> int:
    """Return the private memory of the process and its descendants, without Ray's own processes."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            name = " ".join(each.cmdline()[:3])
            if not any(own in name for own in _RAYS_OWN):
                total += each.memory_full_info().uss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


if __name__ == "__main__":
    raise SystemExit(main())
