"""`score`: a model's scores of a whole data set, offline."""

import argparse
from pathlib import Path

_HELP = """\
Score every text of a data set with a model, offline, through Ray Data: Parquet with all columns of the data
and, for each label, `score_LABEL`, its probability. A smaller model can learn from such scores: give its set
a teacher_weight (train/settings.py).
"""
_EXAMPLE = """\
examples:
  python -m train score --bundle builtin: --data reviews.csv --text-column review --out scored
  python -m train score --bundle registry:reviews@champion --data s3://bucket/reviews/ --out scored
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parser."""
    parser = verbs.add_parser(
        "score",
        help="score a data set offline",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", required=True, metavar="URI", help="the model, as the service takes it")
    parser.add_argument("--data", required=True, metavar="PATH", help="file, folder or address of the texts")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="default: text")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="made; gets Parquet files")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with the model (default 1)")
    parser.add_argument("--gpu", action="store_true", help="give each worker one GPU")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from train.scoring import score

    count = score(
        chosen.bundle,
        chosen.data,
        chosen.out,
        text=chosen.text_column,
        workers=chosen.workers,
        gpu=chosen.gpu,
    )
    print(f"{count:,} texts scored, in {chosen.out}")
    return 0
