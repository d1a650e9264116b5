"""Command `evaluate`: evaluates a model on labelled texts, alone or against another."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from train.cli.data_options import add_data, labelled_sets

if TYPE_CHECKING:
    from train.evaluation.evaluate import Model
    from train.evaluation.results import Evaluation

_HELP = """\
Measure a model on what its training did not see: the held-out part of every set of the settings and the test
sets, or the whole of one labelled file.

Per set: accuracy, balanced accuracy (the mean of the classes' recalls), macro F1, recall and precision of
each class, the confusion matrix, and the calibration error of the scores as they are served. Besides: slices
by any column, behavioural tests (plain cases, negation, names, places, typos, added sentences), the speed.

With --against the two models take turns on the same texts: every difference comes with a 95 % bootstrap
interval, and an interval that holds 0 says that the texts cannot tell the two apart.

URI is what the service loads (a bundle's folder, builtin:, s3://..., hf:...) or a version of the registry,
registry:NAME/VERSION or registry:NAME@ALIAS.

DIR/evaluation.json  everything, as train/evaluation/results.py describes it
DIR/report.html      the same to read: one file, plots inside
DIR/*.png            the plots by themselves
"""
_EXAMPLE = """\
examples:
  python -m train evaluate --bundle runs/builtin/bundle --config train/builtin.toml --data DATA_DIR
  python -m train evaluate --bundle runs/new/bundle --against registry:sentiment@champion \\
      --config train/builtin.toml --data DATA_DIR --slice department --out runs/new/evaluation
  python -m train evaluate --bundle builtin: --data reviews.csv --label-names 0=NEGATIVE 1=POSITIVE
  python -m train evaluate --url http://127.0.0.1:8000 --config train/builtin.toml --data DATA_DIR
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a bundle or a running service, alone or against another version",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--bundle", metavar="URI", help="the model, run in this process")
    model.add_argument("--url", help="a running service, asked through POST /v1/classify")
    parser.add_argument(
        "--against", metavar="URI", help="another model, run in this process on the same texts"
    )
    add_model_options(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write the report and the plots here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.set_defaults(run=_run)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that select sets and slices."""
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets (default: all)")
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="COLUMN",
        help="figures for each value of this column; may be given again",
    )
    parser.add_argument(
        "--slice-texts",
        type=int,
        default=30,
        metavar="N",
        help="slices of fewer texts are joined as (other) (default 30)",
    )


def _run(args: argparse.Namespace) -> int:
    from train.evaluation.evaluate import Model
    from train.evaluation.results import to_json
    from train.evaluation.served_model import ServedModel
    from train.evaluation.tables import summary

    model: Model = ServedModel(args.url) if args.url else local(args.bundle)
    against = local(args.against, model.labels) if args.against else None
    evaluation = measured(args, model, against)
    print(summary(evaluation))
    if args.json:
        args.json.write_text(to_json(evaluation), encoding="utf-8")
    if args.out:
        from train.evaluation.report import write_report

        write_report(evaluation, args.out)
        print(f"\nthe report is {args.out / 'report.html'}")
    return 0


def local(address: str, labels: Sequence[str] | None = None) -> "Model":
    """Load the model at a path or URI."""
    from train.evaluation.evaluate import LocalModel
    from train.model_uri import model_uri

    return LocalModel(model_uri(address), labels, address=address)


def labels_of(address: str) -> tuple[str, ...]:
    """Return the labels of the model at a path or URI, without loading it."""
    from serve_app.model.resolver import fetch
    from train.model_uri import CACHE, model_uri

    return fetch(model_uri(address), cache_dir=CACHE).manifest.labels


def measured(args: argparse.Namespace, model: "Model", against: "Model | None") -> "Evaluation":
    """Run the evaluation that the options describe, with the progress on standard error.

    Raises:
        TrainError: The data are invalid, or a set is missing.
    """
    from train.errors import TrainError
    from train.evaluation.measure import measure

    sets = labelled_sets(args, model.labels, args.slice)
    if unknown := set(args.sets or ()) - set(sets):
        raise TrainError(f"no set {sorted(unknown)[0]!r}; there are {sorted(sets)}")
    return measure(
        model,
        against,
        {name: examples for name, examples in sets.items() if not args.sets or name in args.sets},
        columns=args.slice,
        least_slice_texts=args.slice_texts,
        on_progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
