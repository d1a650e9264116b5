"""Command `sentences`: extracts the sentences of a set's long texts as separate texts."""

import argparse
from pathlib import Path

_HELP = """\
Cut the long texts of one set into sentences of 4 to 50 words and write them as Parquet with a column `text`.
They have no label: a larger model scores them (`python -m train score`), and a smaller one learns from the
scores. Only what the settings train on is cut; what they hold out stays unseen.
"""
_EXAMPLE = """\
example:
  python -m train sentences --config train/teacher.toml --data DATA_DIR --set long_reviews \\
      --out DATA_DIR/review_sentences.parquet
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "sentences",
        help="cut a set's texts into sentences",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the run's settings, TOML")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder or address of its files")
    parser.add_argument("--set", required=True, metavar="NAME", help="which of its sets")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from train.datasets.sentences import write_sentences
    from train.settings import read_settings

    count = write_sentences(read_settings(args.config), args.data, args.set, args.out)
    print(f"{count:,} sentences, in {args.out}")
    return 0
