"""Command `score`: computes a model's scores of a complete data set, offline."""

import argparse
from pathlib import Path

from train.cli.data_options import add_layout, layout_from, refuse_with_config

_HELP = """\
Score every text of a data set with a model, offline, through Ray Data: Parquet with all columns of the data,
for each label `score_LABEL`, its probability, and `predicted_label`, the likeliest. A smaller model can learn
from such scores: give its set a teacher_weight (train/settings.py). With --config, every set that the
settings train on is scored, into a folder `set=NAME` each.
"""
_EXAMPLE = """\
examples:
  python -m train score --bundle builtin: --data reviews.csv --text-column review --out scored
  python -m train score --bundle runs/teacher/bundle --config train/teacher.toml --data DATA_DIR --out scored
  python -m train score --bundle registry:reviews@champion --data s3://bucket/reviews/ --out scored
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "score",
        help="score a data set offline",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", required=True, metavar="URI", help="the model, as the service takes it")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a run's settings, TOML")
    parser.add_argument(
        "--data",
        required=True,
        metavar="PATH",
        help="file, folder or address of the texts; with --config, the folder of its files",
    )
    parser.add_argument("--text-column", metavar="NAME", help="default: text, or 1 with --no-header")
    add_layout(parser)
    parser.add_argument(
        "--skip-bad-rows", type=int, metavar="N", help="rows of a file without a text left out (default: 0)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="made; gets Parquet files")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with the model (default 1)")
    parser.add_argument("--gpu", action="store_true", help="give each worker one GPU")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from train.batch_inference import score, score_sets
    from train.settings import read_settings

    machine = {"workers": args.workers, "gpu": args.gpu}
    if args.config is None:
        count = score(
            args.bundle,
            args.data,
            args.out,
            text=args.text_column or ("1" if args.no_header else "text"),
            layout=layout_from(args),
            skip_bad_rows=args.skip_bad_rows or 0,
            **machine,
        )
    else:
        refuse_with_config(args)
        count = score_sets(args.bundle, read_settings(args.config), args.data, args.out, **machine)
    print(f"{count:,} texts scored, in {args.out}")
    return 0
