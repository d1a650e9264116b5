"""`evaluate`: measure a model on labelled texts."""

import argparse
import json
from pathlib import Path

from train.verbs.data import add_data, labelled_sets

_HELP = """\
Measure a model on what its training did not see: the held-out part of every set of the settings, and the
test sets. Prints a table; balanced accuracy is the mean of the classes' recalls.
"""
_EXAMPLE = """\
examples:
  python -m train evaluate --bundle runs/builtin/bundle --config train/builtin.toml --data DATA_DIR
  python -m train evaluate --url http://127.0.0.1:8000 --config train/builtin.toml --data DATA_DIR
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parser."""
    parser = verbs.add_parser(
        "evaluate",
        help="measure a bundle or a running service",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--bundle", metavar="URI", help="a bundle's folder or builtin:, run in this process")
    model.add_argument("--url", help="a running service, asked through POST /v1/classify")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from train.errors import TrainError
    from train.evaluation.evaluate import LocalModel, Model, ServedModel, evaluate_sets
    from train.evaluation.figures import as_json, as_table
    from train.settings import read_settings

    labels = read_settings(chosen.config).labels if chosen.config else None
    model: Model
    if chosen.url:
        if labels is None:
            raise TrainError("--url needs --config, which says the labels")
        model = ServedModel(chosen.url, labels)
    else:
        model = LocalModel(chosen.bundle, labels)
    sets = labelled_sets(chosen, model.labels)
    if unknown := set(chosen.sets or ()) - set(sets):
        raise TrainError(f"no set {sorted(unknown)[0]!r}; there are {sorted(sets)}")
    sets = {name: examples for name, examples in sets.items() if not chosen.sets or name in chosen.sets}
    found, _ = evaluate_sets(model, sets, model.labels)
    print(as_table(found, model.labels))
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(found), indent=2) + "\n", encoding="utf-8")
    return 0
