"""Command line of training: `python -m train <verb>`."""

import argparse
import sys
from collections.abc import Sequence

from serve_app.errors import BundleError
from train.cli import (
    drift,
    evaluate,
    feedback,
    fit,
    gate,
    log,
    publish,
    registry,
    retrain,
    sagemaker,
    score,
    sentences,
)
from train.errors import TrainError

_COMMANDS = (
    fit,
    evaluate,
    gate,
    registry,
    score,
    sentences,
    publish,
    log,
    feedback,
    drift,
    retrain,
    sagemaker,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0 on success, 1 after an error message, or another exit code of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m train", description="Train, measure and keep text classifiers."
    )
    commands = parser.add_subparsers(required=True, metavar="verb")
    for command in _COMMANDS:
        command.add(commands)
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
    except (TrainError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
