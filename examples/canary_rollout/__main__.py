"""Command line of the example: `python -m examples.canary_rollout`, or `make canary`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.errors import ClusterError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return 0 if every check holds, and 1 if one does not or the example cannot be run."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.canary_rollout",
        description="Promote a good version and roll back a bad one, with the real service on this machine.",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/canary"),
        metavar="DIR",
        help="folder of the plot canary.png (default: %(default)s)",
    )
    parser.add_argument(
        "--replicas", type=int, default=4, help="number of replicas of the service (default: %(default)s)"
    )
    parser.add_argument(
        "--per-minute", type=float, default=360, help="requests per minute per replica (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args(arguments)
    try:
        return _run(args)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    from examples.canary_rollout.run import as_text, demonstrate

    def on_progress(line: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)

    shown = demonstrate(args.out, replicas=args.replicas, per_minute=args.per_minute, on_progress=on_progress)
    print(shown.as_json() if args.json else as_text(shown), flush=True)
    on_progress(f"plot: {args.out / 'canary.png'}")
    return 0 if shown.holds else 1


if __name__ == "__main__":
    sys.exit(main())
