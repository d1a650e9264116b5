"""Command `feedback`: imports labels from a file into the log, and exports the audit sample to a file."""

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from train.cli.data_options import add_layout, label_pair, layout_from

_HELP = """\
Add the rows of a CSV, JSONL or Parquet file, or of a folder of them, to the feedback. A row says of the text
with this request id and index (0 if there is no such column) which label is right, and when that was said
(now if there is no such column). Every row is checked before the first is written. Importing a file twice
does no harm; where a text was given several labels, the one with the latest time counts. Counted and
reported: an index such as 1.0, which is read as 1; a time in the future, which the time of the import
replaces; rows that repeat another one; texts with different labels.

With --audit the file is one of `feedback sample`: its labels are those of a random sample, and measure how
often the answers are right. Rows without a label are left out, and `feedback sample` exports them again.
"""
_SAMPLE = """\
Write the texts that the service marked for labelling (SENTIMENT_AUDIT_FRACTION) to a CSV file: request id,
index, text, and an empty column label. Fill it in for every row, then import the file with --audit. Texts
that have such a label already are left out. Feedback from users cannot replace this sample: who gives it
depends on whether the answer was right.
"""
_EXAMPLE = """\
examples:
  python -m train feedback sample --log s3://bucket/log --hours 24 --out sample.csv
  python -m train feedback import sample.csv --log s3://bucket/log --audit
  python -m train feedback import tickets.csv --log s3://bucket/log
  python -m train feedback import reviewed.parquet --log logs --labels NEGATIVE POSITIVE \\
      --label-column verdict --label-names 0=NEGATIVE 1=POSITIVE

exit codes: 0 done, 1 a row is not feedback (nothing was written) or the log cannot be reached
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parsers of the command."""
    group = commands.add_parser("feedback", help="right labels: import, sample", epilog=_EXAMPLE)
    group.formatter_class = argparse.RawDescriptionHelpFormatter
    what = group.add_subparsers(required=True, metavar="what")
    _add_sample(what)
    parser = what.add_parser(
        "import",
        help="add the rows of files",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="PATH", help="file, folder or s3://bucket/prefix")
    parser.add_argument("--log", required=True, metavar="URI", help="folder or s3://bucket/prefix")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="the model's (default: the log's)")
    for column in ("request-id", "index", "label", "time"):
        name = column.replace("-", "_")
        parser.add_argument(f"--{column}-column", default=name, metavar="NAME", help=f"default: {name}")
    parser.add_argument(
        "--label-names",
        "--label-map",
        nargs="+",
        default=(),
        metavar="VALUE=LABEL",
        help="what the label column's values mean; default: they are the labels",
    )
    add_layout(parser)
    parser.add_argument("--audit", action="store_true", help="the file is one of `feedback sample`, labelled")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_run)


def _add_sample(what: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = what.add_parser(
        "sample",
        help="the audit sample as a file to be labelled",
        description=_SAMPLE,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--log", required=True, metavar="URI", help="folder or s3://bucket/prefix")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--hours", type=float, default=24.0, help="the window's length (default 24)")
    begin.add_argument("--since", type=datetime.fromisoformat, metavar="TIME", help="or its beginning")
    parser.add_argument(
        "--until", type=datetime.fromisoformat, metavar="TIME", help="the window's end (default: now)"
    )
    parser.add_argument("--version", metavar="VERSION", help="predictions of one version (default: all)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV file to be labelled")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_sample)


def _sample(args: argparse.Namespace) -> int:
    from train.prediction_log.audit_sample import export_sample
    from train.prediction_log.reader import Log, Window

    until = args.until or datetime.now(UTC)
    since = args.since or until - timedelta(hours=args.hours)
    done = export_sample(Log(args.log), Window(since, until, args.version), args.out)
    if args.json:
        print(json.dumps(asdict(done)))
        return 0
    print(f"{done.rows:,} texts to be labelled are in {args.out}; {done.labelled:,} have a label already")
    if done.without_text:
        print(f"{done.without_text:,} marked answers have no text in the log: SENTIMENT_LOG_PRIVACY is hash")
    if not done.rows + done.labelled + done.without_text:
        print("no answer in the window is marked; set SENTIMENT_AUDIT_FRACTION on the service")
    return 0


def _run(args: argparse.Namespace) -> int:
    from train.prediction_log.importer import ImportColumns, import_feedback
    from train.prediction_log.reader import Log

    done = import_feedback(
        args.file,
        args.log,
        args.labels or Log(args.log).labels(),
        ImportColumns(
            args.request_id_column,
            args.index_column,
            args.label_column,
            args.time_column,
            dict(label_pair(pair) for pair in args.label_names),
        ),
        now=datetime.now(UTC),
        layout=layout_from(args),
        audit=args.audit,
        on_progress=lambda count: print(f"{count:,} rows written", file=sys.stderr, flush=True),
    )
    if args.json:
        print(json.dumps(asdict(done)))
        return 0
    print(f"{done.rows:,} rows of feedback are in {args.log}")
    for count, what in (
        (done.decimal_index, "with the index as a decimal number, such as 1.0: read as whole numbers"),
        (done.future_time, "with a time in the future: written with the time of the import"),
        (done.duplicate, "repeated: said of the same text by another row, counts once"),
        (done.contradicting, "texts with different labels: the latest time counts, none of equal times"),
    ):
        if count:
            print(f"  {count:,} {what}")
    return 0
