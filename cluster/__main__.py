"""Command line of the control plane: `python -m cluster COMMAND`."""

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
    """Run one command; return 0 on success, 1 after an error, or an exit code that the command documents."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Run the service on KubeRay and EKS, and estimate its cost."
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for verb in (render, check, objects, train, rollout, loop, demo, cost, aws):
        verb.add(verbs)
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
