"""Commands `log show` and `log compact`: show the contents of a prediction log, and merge its small files."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta

_SHOW = """\
Count what the prediction log and its feedback hold, by day and version. Only the footers of the files are
read.
"""
_COMPACT = """\
Make the many small files of each day into files of about 128 MB, which are read many times faster. Every row
stays readable, once, whenever this is interrupted, and the same command again goes on. Files that were
replaced are removed by a run that comes at least --grace-s later, so that nobody reads them any more: run it
daily.
"""
_EXAMPLE = """\
examples:
  python -m train log show --log s3://bucket/log --since 2026-11-01
  python -m train log compact --log logs

exit codes: 0 done, 1 failed or refused
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the commands."""
    group = commands.add_parser("log", help="what the service has captured: show, compact", epilog=_EXAMPLE)
    group.formatter_class = argparse.RawDescriptionHelpFormatter
    of_log = group.add_subparsers(required=True, metavar="what")
    show = _add_command(of_log, "show", "rows by day and version", _SHOW)
    show.add_argument("--since", type=date.fromisoformat, metavar="DAY", help="first UTC day (default: all)")
    show.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="last UTC day (default: all)")
    show.add_argument("--version", metavar="VERSION", help="predictions of one version (default: all)")
    show.set_defaults(run=_show)
    compact = _add_command(of_log, "compact", "small files into large ones", _COMPACT)
    compact.add_argument(
        "--before",
        type=date.fromisoformat,
        metavar="DAY",
        help="first day left alone (default: today, UTC, which is still written to)",
    )
    compact.add_argument("--file-mb", type=int, default=128, metavar="MB", help="files to make (default 128)")
    compact.add_argument(
        "--grace-s", type=float, default=3600, metavar="S", help="how long replaced files stay (default 3600)"
    )
    compact.set_defaults(run=_compact)


def _add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, description: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--log", required=True, metavar="URI", help="folder or s3://bucket/prefix")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _show(args: argparse.Namespace) -> int:
    from train.evaluation.tables import table
    from train.prediction_log.reader import Log, Window
    from train.prediction_log.summary import summarise

    first, last = args.since or date.min, args.until or date.max
    window = Window(
        datetime.combine(first, time.min, UTC), datetime.combine(last, time.max, UTC), args.version
    )
    holdings = summarise(Log(args.log), window, _progress("files looked at"))
    if args.json:
        print(json.dumps([asdict(holding) for holding in holdings], indent=2))
        return 0
    rows = [["what", "day", "version", "rows", "files", "MB"]]
    rows += [
        [of.kind, of.day, of.version or "-", f"{of.rows:,}", f"{of.files:,}", f"{of.size_bytes / 1e6:,.1f}"]
        for of in holdings
    ]
    print(table(rows))
    return 0


def _compact(args: argparse.Namespace) -> int:
    from train.prediction_log.compaction import compact
    from train.prediction_log.reader import Log

    done = compact(
        Log(args.log),
        before=args.before or datetime.now(UTC).date(),
        file_bytes=args.file_mb << 20,
        grace=timedelta(seconds=args.grace_s),
        on_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if args.json:
        print(json.dumps(asdict(done), indent=2))
        return 0
    print(
        f"{done.files_before:,} files are {done.files_after:,} now: {done.written:,} written, "
        f"{done.removed:,} replaced ones removed"
    )
    return 0


def _progress(what: str) -> Callable[[int], None]:
    def on_progress(count: int) -> None:
        if count % 100 == 0:
            print(f"{count:,} {what}", file=sys.stderr, flush=True)

    return on_progress
