"""Command `fit`: trains a model on Ray Train and writes it as a bundle."""

import argparse
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.cli.data_options import add_data, file_settings
from train.errors import SettingsFileError

_HELP = """\
Train a text classifier on Ray Train and write it as a bundle.

With --data alone, the texts are one CSV, JSONL or Parquet file, a folder of them, an s3:// prefix or an
hf: data set, and the options below say the rest. With --config, a settings file says all that decides the
result: the base model, several sets and how often each is shown, what is held out, the optimiser, the seed.
train/builtin.toml made the built-in model; train/settings.py explains each key, and --set changes any.

OUT/bundle/              what the service loads; bundle.json has checksums, figures and the temperature
OUT/report.json          settings, texts, data digest, parent, figures on the held-out parts, history
OUT/learning_curves.png  losses and held-out accuracy over the steps
OUT/prepared/            the tokenised texts; may be deleted
OUT/ray/                 Ray Train's checkpoints, unless --checkpoints says otherwise
"""
_EXAMPLE = """\
examples:
  python -m train fit --data reviews.csv --out runs/reviews
  python -m train fit --data reviews.parquet --label-names 0=NEGATIVE 1=POSITIVE --drop-labels 2 \\
      --base builtin: --epochs 2 --set optimiser.class_weights=balanced --out runs/reviews
  python -m train fit --data s3://bucket/tickets/ --base hf:distilbert/distilbert-base-uncased \\
      --method full --workers 4 --gpu --checkpoints s3://bucket/runs/tickets --out runs/tickets
  python -m train fit --config train/builtin.toml --data DATA_DIR --out runs/builtin --workers 2
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "fit",
        help="train a model and write a bundle",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="where the result goes")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--base",
        help="what to start from: builtin: (default), a folder, s3://, hf:, registry:NAME@ALIAS, pypi:",
    )
    model.add_argument("--method", choices=("lora", "full"), help="an adapter (default), or all weights")
    model.add_argument(
        "--labels", nargs="+", metavar="LABEL", help="in order; default: the base's, or the data's"
    )
    model.add_argument("--name", help="of the model; default: the data's name")
    model.add_argument("--version", help="default: the time, as 20261124-201500")
    run = parser.add_argument_group("run")
    run.add_argument("--epochs", type=float, help="times each text is shown (default 3)")
    run.add_argument("--held-out", type=float, help="share kept out of training (default 0.15)")
    run.add_argument("--validation", metavar="PATH", help="held-out texts of the same columns, instead")
    run.add_argument("--seed", type=int, help="of everything that is drawn (default 0)")
    run.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting, such as optimiser.learning_rate=1e-4 or progress.patience=2",
    )
    run.add_argument("--max-steps", type=int, default=0, help="stop early, for a trial")
    run.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--workers", type=int, default=1, help="processes that share each step (default 1)")
    machine.add_argument("--cpus", type=int, default=0, help="cores of each (default: all, shared)")
    machine.add_argument("--gpu", action="store_true", help="give each worker one GPU")
    machine.add_argument("--checkpoints", metavar="URI", help="folder or s3:// (default: OUT/ray)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from train.settings import read_toml, settings_of
    from train.training.trainer import Resources, fit

    if args.config:
        values, root, where = read_toml(args.config), args.data, str(args.config)
    else:
        values, root, where = _from_options(args)
    for name in ("base", "method", "name", "version", "seed", "labels"):
        if (value := getattr(args, name)) is not None:
            values[name] = value
    for pair in args.set:
        _put(values, pair)
    fit(
        settings_of(values, where=where),
        root,
        args.out,
        resources=Resources(args.workers, args.cpus, args.gpu),
        checkpoints=args.checkpoints,
        max_steps=args.max_steps,
        resume=args.resume,
    )
    return 0


def _from_options(args: argparse.Namespace) -> tuple[dict[str, Any], str, str]:
    """Return the settings of one set, its folder or URI, and the name of the settings in error messages."""
    from train.base_model import find_base
    from train.datasets.reading import label_values

    source, root = file_settings(args)
    base = args.base or "builtin:"
    values: dict[str, Any] = {"base": base, "name": source.name, "version": _version(args)}
    columns = source.model_dump(exclude={"name", "file"}, exclude_defaults=True)
    of_set = {"name": source.name, "file": source.file, **columns, "passes": args.epochs or 3.0}
    if args.held_out is not None:
        of_set["held_out"] = args.held_out
    if args.validation:
        of_set["held_out"] = 0.0
        validation = str(Path(args.validation).absolute()) if ":" not in args.validation else args.validation
        values["validation"] = [{"name": "validation", "file": validation, **columns}]
    values["data"] = [of_set]
    inherited = find_base(base).labels  # first, because the data may be large
    found = list(dict.fromkeys(source.label_names.values())) or label_values(root, source)
    values["labels"] = inherited if inherited and set(found) <= set(inherited) else sorted(found)
    if len(values["labels"]) < 2:
        raise SettingsFileError(f"{args.data} has the label {found} alone; two are the least")
    values["progress"] = {"evaluations": max(4, round(of_set["passes"]))}
    return values, root, "the options"


def _version(args: argparse.Namespace) -> str:
    """Return the name of a new version, or of the earlier one if the run is resumed."""
    import json

    path = args.out / "settings.json"
    if args.resume and path.is_file():
        return str(json.loads(path.read_text(encoding="utf-8"))["version"])
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def _put(values: dict[str, Any], pair: str) -> None:
    """Set `a.b=value`, with the value parsed as TOML if possible, and a string otherwise."""
    key, equals, text = pair.partition("=")
    if not equals:
        raise SettingsFileError(f"--set takes KEY=VALUE, such as optimiser.learning_rate=1e-4, got {pair!r}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *path, last = key.split(".")
    at: Any = values
    for part in path:
        at = at.setdefault(part, {})
        if not isinstance(at, Mapping):
            raise SettingsFileError(f"--set {pair}: {part!r} has no settings of its own")
    at[last] = value
