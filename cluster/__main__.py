"""`python -m cluster <verb>`: the command line of the control plane."""

import argparse
import sys
from collections.abc import Sequence

from cluster.aws import verbs as aws
from cluster.errors import ClusterError
from cluster.loop import verbs as loop
from cluster.loop.demo import verbs as demo
from cluster.rollout import verbs as rollout
from cluster.verbs import check, cost, objects, render, train


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 if it did what was asked, 1 with a message if not, and what a verb says besides."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Run the service on KubeRay and EKS, and know what it costs."
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for verb in (render, check, objects, train, rollout, loop, demo, cost, aws):
        verb.add(verbs)
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
