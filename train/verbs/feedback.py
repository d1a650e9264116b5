"""`feedback import`: right labels from a file, into the log that the service's own feedback goes to."""

import argparse
import json
import sys
from datetime import UTC, datetime

from train.verbs.data import label_pair

_HELP = """\
Add the rows of a CSV, JSONL or Parquet file, or of a folder of them, to the feedback. A row says of the text
with this request id and index (0 if there is no such column) which label is right, and when that was said
(now if there is no such column). Every row is checked before the first is written. Importing a file twice
does no harm; where a text was given several labels, the last one counts.
"""
_EXAMPLE = """\
examples:
  python -m train feedback import tickets.csv --log s3://bucket/log
  python -m train feedback import reviewed.parquet --log logs --labels NEGATIVE POSITIVE \\
      --label-column verdict --label-names 0=NEGATIVE 1=POSITIVE

exit codes: 0 done, 1 a row is not feedback (nothing was written) or the log cannot be reached
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parsers."""
    group = verbs.add_parser("feedback", help="right labels from files: import", epilog=_EXAMPLE)
    group.formatter_class = argparse.RawDescriptionHelpFormatter
    parser = group.add_subparsers(required=True, metavar="what").add_parser(
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
        nargs="+",
        default=(),
        metavar="VALUE=LABEL",
        help="what the label column's values mean; default: they are the labels",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from train.captured.importing import ImportColumns, import_feedback
    from train.captured.reading import Log

    rows = import_feedback(
        chosen.file,
        chosen.log,
        chosen.labels or Log(chosen.log).labels(),
        ImportColumns(
            chosen.request_id_column,
            chosen.index_column,
            chosen.label_column,
            chosen.time_column,
            dict(label_pair(pair) for pair in chosen.label_names),
        ),
        now=datetime.now(UTC),
        tell=lambda count: print(f"{count:,} rows written", file=sys.stderr, flush=True),
    )
    print(json.dumps({"rows": rows}) if chosen.json else f"{rows:,} rows of feedback are in {chosen.log}")
    return 0
