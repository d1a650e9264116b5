"""Command line of the control plane: `python -m cluster COMMAND`."""

import argparse
import sys
from collections.abc import Sequence

from cluster.aws import cli as aws
from cluster.cli import check, cost, objects, render, train
from cluster.cli.examples import run_moved
from cluster.continuous_training import cli as loop
from cluster.errors import ClusterError
from cluster.rollout import cli as rollout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 on success, 1 after an error, or an exit code that the command documents."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description="Run the service on KubeRay and EKS, and estimate its cost."
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")
    for verb in (render, check, objects, train, rollout, loop, cost, aws):
        verb.add(verbs)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if (moved := run_moved(arguments)) is not None:
            return moved
        args = parser.parse_args(arguments)
        status: int = args.run(args)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
