"""Command `drift`: checks logged traffic of a version for drift and for a loss of accuracy."""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

EXIT_CODES = {"ok": 0, "drift": 3, "retrain": 4}
"""Exit codes by verdict; 1 is an error without a verdict."""

_HELP = """\
Hold what a version answered in a window of time against the reference profile in its bundle.

covariate shift   embeddings of the logged texts (MMD), lengths, unknown tokens
prediction shift  shares of the answered labels, scores
segment shift     a product that turns: compared with its own past
accuracy          by feedback, with bounds; without feedback estimated from the scores

A check speaks up when its effect reaches the bound in train/drift.toml and chance does not explain it. The
verdict is `retrain` where retraining can help: fewer right answers, or texts of another domain that no
feedback shows to be answered well. It is `drift` for any other change. Where the log keeps no texts, the
embeddings are not measured, and the table says so.

DIR/drift.json       everything
DIR/report.html      the same to read: one file, plots inside
DIR/metrics.prom     Prometheus text;  DIR/cloudwatch.json  for aws cloudwatch put-metric-data
"""
_EXAMPLE = """\
examples:
  python -m train drift --log logs --bundle registry:sentiment@champion --hours 24
  python -m train drift --log s3://bucket/log --bundle s3://bucket/bundles/sentiment/7 --hours 24 \\
      --past-periods 28 --out runs/drift
  python -m train drift --log logs --bundle runs/new/bundle --since 2026-11-01T00:00+00:00 --json

exit codes: 0 ok, 3 drift, 4 retrain, 1 an error: nothing was judged
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "drift",
        help="hold the prediction log against a version's reference",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--log", required=True, metavar="URI", help="folder or s3://bucket/prefix")
    parser.add_argument("--bundle", required=True, metavar="URI", help="the version that answered")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--hours", type=float, default=24.0, help="the window's length (default 24)")
    begin.add_argument("--since", type=datetime.fromisoformat, metavar="TIME", help="or its beginning")
    parser.add_argument(
        "--until", type=datetime.fromisoformat, metavar="TIME", help="the window's end (default: now)"
    )
    parser.add_argument(
        "--past-periods",
        type=int,
        metavar="COUNT",
        help="the segments' own past, in periods as long as the window (default: train/drift.toml, 14)",
    )
    parser.add_argument(
        "--thresholds", type=Path, metavar="FILE", help="the bounds, TOML (default: train/drift.toml)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write report and metrics here")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from serve_app.model.resolver import fetch
    from train.drift.detector import check_drift
    from train.drift.report import summary
    from train.drift.results import to_json
    from train.drift.thresholds import DEFAULT, read_thresholds
    from train.model_uri import CACHE, model_uri
    from train.prediction_log.reader import Log

    now = datetime.now(UTC)
    until = args.until or now
    since = args.since or until - timedelta(hours=args.hours)
    found = check_drift(
        Log(args.log),
        fetch(model_uri(args.bundle), cache_dir=CACHE),
        read_thresholds(args.thresholds or DEFAULT),
        since=since,
        until=until,
        past_periods=args.past_periods,
        on_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(to_json(found.report) if args.json else summary(found.report))
    if args.out:
        from train.drift.report import write_report

        write_report(found, args.out, now)
        print(f"the report is {args.out / 'report.html'}", file=sys.stderr)
    return EXIT_CODES[found.report.verdict]
