"""The options that say which environment, and what of it: a name or file, single changes, the training."""

import argparse
from typing import Any

from cluster.errors import SettingsInvalid
from cluster.kuberay.settings import Environment, environments, read_environment


def add_environment(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """The options, for a verb's parser."""
    names = ", ".join(environments())
    parser.add_argument(
        "--env", required=required, metavar="NAME", help=f"{names}, or the path of a TOML file of yours"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="change one setting, such as serve.max_pods=8 or workers.0.max_pods=8; may be repeated",
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """The option that chooses the training, for a verb's parser."""
    parser.add_argument("--training", action="store_true", help="the RayJob that trains, instead")


def chosen_environment(chosen: argparse.Namespace) -> Environment:
    """The environment that the options describe."""
    return read_environment(chosen.env, chosen.changes)


def chosen_documents(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """What the options name, in the order of applying; the Ray object is the last.

    Raises:
        SettingsInvalid: the settings are wrong, or have no training.
    """
    from cluster.kuberay.render import service_documents, training_documents

    environment = chosen_environment(chosen)
    if not chosen.training:
        return service_documents(environment)
    if documents := training_documents(environment):
        return documents
    raise SettingsInvalid(f"environment {chosen.env!r} has no [training]")
