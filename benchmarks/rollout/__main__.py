"""Rollouts with faults on real replicas: each part prints a table of docs/benchmarks/rollout.md."""

from __future__ import annotations

import argparse

from benchmarks.rollout import bad, code, killed, loading, replica, scaled

PARTS = {
    "bad": bad.run,
    "killed": killed.run,
    "scaled": scaled.run,
    "loading": loading.run,
    "code": code.run,
    "replica": replica.run,
}


def main() -> int:
    """Run one part; return 0 regardless of the results, since it is not a test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("names", nargs="*", help="of `bad`: these canaries alone")
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--per-minute", type=float, default=300, help="requests a replica (%(default)s)")
    chosen = parser.parse_args()
    lines = PARTS[chosen.part](replicas=chosen.replicas, per_minute=chosen.per_minute, names=chosen.names)
    for line in lines:
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
