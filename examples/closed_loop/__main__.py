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
Trains a small champion on one domain, serves it on two replicas with capture on, asks it about that domain
and then about another with feedback, and calls the loop: drift is noticed, the champion retrained, the gate
asked, the new version put on one pod under load, watched, and promoted. Ends with a table.

The texts are those in --data (sst2_train, sst2_dev and tweets_sentiment as Parquet), or invented ones.
"""
_EPILOG = """\
exit codes: 0 all was as it has to be, 1 it was not, or it could not be run
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; return 0 if every check holds, and 1 if one does not or the example cannot be run."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.closed_loop",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="real labelled texts (default: invented)")
    parser.add_argument("--poison", action="store_true", help="feedback labels are random: the gate refuses")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/demo"),
        metavar="DIR",
        help="is emptied first, but for the first champion (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the texts (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
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
                f"{args.out} holds something else than a demonstration; choose another --out"
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
