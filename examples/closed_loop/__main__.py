"""Command line of the example: `python -m examples.closed_loop`, or `make demo`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from cluster.continuous_training.errors import ContinuousTrainingError
from cluster.errors import ClusterError

_HELP = """\
Show continuous training with the real service on this machine. The example trains a small champion on texts
of one domain, serves it on two replicas with the prediction log, and sends texts of that domain, then of
another one with feedback. The loop detects the drift, retrains the champion, evaluates the new version with
the gate, rolls it out under load, and promotes it. The result is printed as a table.

The texts are those in --data (sst2_train, sst2_dev and tweets_sentiment as Parquet), or synthetic ones.
"""
_EPILOG = """\
examples:
  python -m examples.closed_loop
  python -m examples.closed_loop --data DATA_DIR --out runs/demo
  python -m examples.closed_loop --poison                 # random feedback: the gate refuses the version

exit codes: 0 the result is as expected, 1 it is not, or the example could not run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return 0 if every check holds, and 1 if one does not or the example cannot be run."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.closed_loop",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of labelled texts (default: synthetic texts)"
    )
    parser.add_argument(
        "--poison", action="store_true", help="use random feedback labels, which the gate refuses"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        metavar="DIR",
        help="output folder, emptied first except for the first champion (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="random seed of the texts (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    args = parser.parse_args(arguments)
    try:
        return _run(args)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    from examples.closed_loop.report import as_text, plot, to_json
    from examples.closed_loop.run import CHAMPION, demonstrate
    from examples.closed_loop.texts import invented, real
    from serve_app.dev_server.preconditions import LocalError
    from serve_app.errors import BundleError
    from train.errors import TrainError

    begun_s = time.monotonic()

    def on_progress(line: str) -> None:
        print(f"[{time.monotonic() - begun_s:5.0f} s] {line}", file=sys.stderr, flush=True)

    if args.out.exists():
        if any(args.out.iterdir()) and not (args.out / CHAMPION).is_dir():
            raise ContinuousTrainingError(
                f"{args.out} has files of another origin; choose another --out, or empty it"
            )
        for path in args.out.iterdir():
            if path.name != CHAMPION:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    try:
        domains = real(args.data, args.seed) if args.data else invented(args.seed)
        with redirect_stdout(sys.stderr):  # messages of the training are progress output here
            shown = demonstrate(
                domains, args.out, poison=args.poison, seed=args.seed, on_progress=on_progress
            )
    except (TrainError, BundleError, LocalError) as error:
        raise ContinuousTrainingError(str(error)) from error
    (args.out / "demo.png").write_bytes(plot(shown))
    print(to_json(shown) if args.json else as_text(shown), flush=True)
    on_progress(f"plot: {args.out / 'demo.png'}")
    return 1 if shown.faults else 0


if __name__ == "__main__":
    sys.exit(main())
