"""`fit`: train a model on Ray Train and write it as a bundle."""

import argparse
from pathlib import Path

from train.verbs.data import add_data

_HELP = """\
Train a LoRA adapter on Ray Train and write it as a bundle.

The settings file says all that decides the result: the base model, the sets and how often each is shown,
what is held out, the adapter's shape, the optimiser, the seed. train/builtin.toml made the built-in model;
train/settings.py explains each key.

DIR/bundle/      what the service loads: adapter, configuration, and bundle.json with checksums and figures
DIR/report.json  the settings, the figures on the held-out parts, the temperature, the time
DIR/ray/         Ray Train's own record of the run
"""
_EXAMPLE = """\
examples:
  python -m train fit --config train/builtin.toml --data DATA_DIR --out runs/builtin
  python -m train fit --config train/builtin.toml --data DATA_DIR --out runs/trial --max-steps 20
"""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verb's parser."""
    parser = verbs.add_parser(
        "fit",
        help="train a model and write a bundle",
        description=_HELP,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(parser)
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
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from train.fitting.fit import fit
    from train.settings import read_settings

    fit(
        read_settings(chosen.config),
        Path(chosen.data),
        chosen.out,
        workers=chosen.workers,
        cpus=chosen.cpus,
        gpu=chosen.gpu,
        max_steps=chosen.max_steps,
        start_from=chosen.start_from,
    )
    return 0
