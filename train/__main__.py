"""`python -m train <verb>`: the command line of training."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from serve_app.errors import BundleError
from train.errors import TrainError

_FIT_HELP = """\
Train a LoRA adapter on Ray Train and write it as a bundle.

The settings file says all that decides the result: the base model, the sets and how often each is shown,
what is held out, the adapter's shape, the optimiser, the seed. train/builtin.toml made the built-in model;
train/settings.py explains each key.

DIR/bundle/      what the service loads: adapter, configuration, and bundle.json with checksums and figures
DIR/report.json  the settings, the figures on the held-out parts, the temperature, the time
DIR/ray/         Ray Train's own record of the run
"""
_FIT_EXAMPLE = """\
examples:
  python -m train fit --config train/builtin.toml --data DATA_DIR --out runs/builtin
  python -m train fit --config train/builtin.toml --data DATA_DIR --out runs/trial --max-steps 20
"""
_EVALUATE_HELP = """\
Measure a model on what its training did not see: the held-out part of every set of the settings, and the
test sets. Prints a table; balanced accuracy is the mean of the classes' recalls.
"""
_EVALUATE_EXAMPLE = """\
examples:
  python -m train evaluate --bundle runs/builtin/bundle --config train/builtin.toml --data DATA_DIR
  python -m train evaluate --url http://127.0.0.1:8000 --config train/builtin.toml --data DATA_DIR
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 if it did what was asked, 1 with a message if not."""
    parser = argparse.ArgumentParser(
        prog="python -m train", description="Train and measure text classifiers."
    )
    verbs = parser.add_subparsers(required=True, metavar="verb")
    _add_fit(verbs)
    _add_evaluate(verbs)
    _add_publish(verbs)
    chosen = parser.parse_args(arguments)
    # Models come from packages and folders; a hub is asked by no verb.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        chosen.run(chosen)
    except (TrainError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _add_fit(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "fit",
        help="train an adapter and write a bundle",
        description=_FIT_HELP,
        epilog=_FIT_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the result goes")
    parser.add_argument("--workers", type=int, default=1, help="processes that share each step (default 1)")
    parser.add_argument(
        "--cpus", type=int, default=0, help="cores of each worker (default: all, shared among them)"
    )
    parser.add_argument("--gpu", action="store_true", help="give each worker one GPU")
    parser.add_argument(
        "--max-steps", type=int, default=0, help="stop early, for a trial (default: the whole run)"
    )
    parser.add_argument("--start-from", type=Path, metavar="DIR", help="a bundle to go on with")
    parser.set_defaults(run=_fit)


def _add_evaluate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "evaluate",
        help="measure a bundle or a running service",
        description=_EVALUATE_HELP,
        epilog=_EVALUATE_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_data(parser)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--bundle", metavar="URI", help="a bundle's folder or builtin:, run in this process")
    model.add_argument("--url", help="a running service, asked through POST /v1/classify")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.set_defaults(run=_evaluate)


def _add_publish(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "publish",
        help="copy a bundle into the folder that ships",
        description="Copy a bundle's files and write bundle.json anew, to cover what else lies there, such\n"
        "as the card. Run it again after the card has changed.",
        epilog="example:\n"
        "  python -m train publish --bundle runs/builtin/bundle --to serve_app/model/builtin",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="what fit wrote")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="made if missing")
    parser.set_defaults(run=_publish)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the run's settings, TOML")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="where the settings' files are"
    )


def _fit(chosen: argparse.Namespace) -> None:
    from train.fit import fit
    from train.settings import read_settings

    fit(
        read_settings(chosen.config),
        chosen.data,
        chosen.out,
        workers=chosen.workers,
        cpus=chosen.cpus,
        gpu=chosen.gpu,
        max_steps=chosen.max_steps,
        start_from=chosen.start_from,
    )


def _evaluate(chosen: argparse.Namespace) -> None:
    from train.evaluate import LocalModel, Model, ServedModel, evaluate_sets, read_sets
    from train.figures import as_json, as_table
    from train.settings import read_settings

    settings = read_settings(chosen.config)
    sets = read_sets(settings, chosen.data)
    if unknown := set(chosen.sets or ()) - set(sets):
        raise TrainError(f"no set {sorted(unknown)[0]!r}; the settings have {sorted(sets)}")
    sets = {name: examples for name, examples in sets.items() if not chosen.sets or name in chosen.sets}
    model: Model
    if chosen.url:
        model = ServedModel(chosen.url, settings.labels)
    else:
        model = LocalModel(chosen.bundle, settings.labels)
    found, _ = evaluate_sets(model, sets, settings.labels)
    print(as_table(found, settings.labels))
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(found), indent=2) + "\n", encoding="utf-8")


def _publish(chosen: argparse.Namespace) -> None:
    from train.publish import publish

    manifest = publish(chosen.bundle, chosen.to)
    print(f"{chosen.to} holds {manifest.name} {manifest.version}, {len(manifest.files)} files")


if __name__ == "__main__":
    sys.exit(main())
