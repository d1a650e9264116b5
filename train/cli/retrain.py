"""Command `retrain`: retrains the champion on feedback, and registers the result if it passes the gate."""

import argparse
import json
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.retraining.retrain import Retrainer
    from train.retraining.state import Retraining

EXIT_CODES = {"registered": 0, "refused": 2, "too few labels": 3}
"""Exit codes by result; 1 is an error, after which the same command continues."""

_HELP = """\
Go on training the champion on the logged texts that have feedback, and on its own old texts, so that it keeps
what it knows. Then measure it against the champion on what both have not seen, and register it if the gate
passes it and it answers the traffic better: shown by an audit sample (`python -m train feedback sample`), or
by feedback on every text of the window. Nothing is rolled out: the address that is printed is what
`python -m cluster rollout start --canary` takes.

The old texts are those that the champion's report in the registry names; where they have moved, or the
champion has no report, --replay and --data say which they are.

The version is named by the window's end and a hash of window and champion. For the same --until (and --since
or --hours), or the same --version, a second call does nothing and says so; one that was killed goes on where
it was. Without options of the window an unfinished retraining of the champion on this log is continued first.

WORK/VERSION/   texts, checkpoints, bundle, report, evaluation/report.html, retraining.json
"""
_EXAMPLE = """\
examples:
  python -m train retrain sentiment --log logs
  python -m train retrain sentiment --log s3://bucket/log --hours 168 --until 2026-11-26T00:00+00:00 --json
  python -m train retrain sentiment --log logs --replay films.toml --data DATA_DIR
  python -m train retrain sentiment --log s3://bucket/log --version run-7 --gpu --workers 4 \\
      --texts s3://bucket/texts/feedback --checkpoints s3://bucket/runs

exit codes: 0 registered (now or earlier), 2 refused by the gate or not enough evidence for it,
3 too few labels, 1 an error
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "retrain",
        help="teach the champion what feedback says, and register the result",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the registered model; its champion is retrained")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--hours", type=float, help="the window's length (default: train/retrain.toml)")
    begin.add_argument("--since", type=datetime.fromisoformat, metavar="TIME", help="or its beginning")
    parser.add_argument(
        "--until", type=datetime.fromisoformat, metavar="TIME", help="the window's end (default: now)"
    )
    parser.add_argument("--version", help="what is to be made (default: named by window and champion)")
    add_retraining(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_run)


def add_retraining(parser: argparse.ArgumentParser) -> None:
    """Add the options for the data and the resources of a retraining."""
    parser.add_argument("--log", required=True, metavar="URI", help="folder or s3://bucket/prefix")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("runs/retraining"),
        metavar="DIR",
        help="stays, unless --texts is given: later retrainings read its texts again (%(default)s)",
    )
    parser.add_argument(
        "--texts", metavar="URI", help="folder or s3:// prefix where the labelled texts stay (default: WORK)"
    )
    parser.add_argument(
        "--checkpoints",
        metavar="URI",
        help="folder or s3:// prefix that every worker reaches (default: WORK)",
    )
    parser.add_argument("--bounds", type=Path, metavar="FILE", help="TOML (default: train/retrain.toml)")
    parser.add_argument("--gate", type=Path, metavar="FILE", help="TOML (default: train/gate.toml)")
    old = parser.add_mutually_exclusive_group()
    old.add_argument("--replay", type=Path, metavar="FILE", help="settings that name the old texts, TOML")
    old.add_argument("--no-replay", action="store_true", help="learn from the feedback alone")
    parser.add_argument("--data", default="", metavar="DIR", help="folder of the files of --replay")
    parser.add_argument("--registry", metavar="URI", help="MLflow's (default: MLFLOW_TRACKING_URI)")
    parser.add_argument("--artifacts", metavar="URI", help="where the registry's files lie")
    parser.add_argument("--workers", type=int, default=1, help="processes that share each step (default 1)")
    parser.add_argument("--cpus", type=int, default=0, help="cores of each (default: all, shared)")
    parser.add_argument("--gpu", action="store_true", help="give each worker one GPU")


def retrainer(args: argparse.Namespace) -> "Retrainer":
    """Return the retrainer that the options of `add_retraining` describe."""
    from train.evaluation.thresholds import DEFAULT as GATE
    from train.evaluation.thresholds import read_thresholds
    from train.prediction_log.reader import Log
    from train.registry import open_registry
    from train.retraining.config import DEFAULT, read_retrain_bounds
    from train.retraining.retrain import Retrainer
    from train.settings import read_settings
    from train.training.trainer import Resources

    return Retrainer(
        open_registry(args.registry, args.artifacts, say=_print_progress),
        Log(args.log),
        args.work,
        read_retrain_bounds(args.bounds or DEFAULT),
        read_thresholds(args.gate or GATE),
        texts=args.texts,
        checkpoints=args.checkpoints,
        old=(read_settings(args.replay), args.data) if args.replay else None,
        forget=args.no_replay,
        resources=Resources(args.workers, args.cpus, args.gpu),
        on_progress=_print_progress,
    )


def _run(args: argparse.Namespace) -> int:
    with redirect_stdout(sys.stderr):  # training prints its progress
        found = retrainer(args)
        since, until = _window(args, found)
        retraining, anew = found.retrain(args.name, since, until, args.version)
    if args.json:
        print(
            json.dumps(
                {**retraining.model_dump(mode="json"), "reference": retraining.reference, "anew": anew}
            )
        )
    else:
        print(summary(retraining, anew=anew))
    return EXIT_CODES[retraining.status]


def _window(args: argparse.Namespace, found: "Retrainer") -> tuple[datetime, datetime]:
    if (args.until, args.since, args.hours, args.version) == (None,) * 4:
        unfinished = found.unfinished(args.name)
        if unfinished is not None:
            _print_progress(f"going on with {unfinished.version}, which was not finished")
            return unfinished.since, unfinished.until
    until = args.until or found.now()
    hours = args.hours or found.bounds.window.hours
    return args.since or until - timedelta(hours=hours), until


def summary(retraining: "Retraining", *, anew: bool) -> str:
    """Return the result as text."""
    labels = ", ".join(f"{count:,} {label}" for label, count in sorted(retraining.by_label.items()))
    lines = [
        f"window      {_time(retraining.since)} to {_time(retraining.until)}",
        f"champion    {retraining.name}/{retraining.champion}",
        f"feedback    {labels or 'none'}",
        f"version     {retraining.name}/{retraining.version}",
        *(f"- {reason}" for reason in retraining.reasons),
        f"{retraining.status.upper()}{'' if anew else ', by an earlier call; nothing was done'}",
    ]
    if retraining.uri:
        lines.append(f"next: python -m cluster rollout start --canary {retraining.reference}")
    return "\n".join(lines)


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
