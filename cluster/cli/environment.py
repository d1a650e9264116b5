"""Command-line options that select an environment, change its settings, or select its training job."""

import argparse
from typing import Any

from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.settings import Environment, environments, read_environment


def add_environment(
    parser: argparse.ArgumentParser, *, required: bool = False, default: str | None = None
) -> None:
    """Add the options of the environment to a command's parser."""
    names = ", ".join(environments())
    parser.add_argument(
        "--env",
        required=required,
        default=default,
        metavar="NAME",
        help=f"environment: {names}, or the path of a TOML file{f' (default: {default})' if default else ''}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="changed setting, such as serve.max_pods=8 or workers.0.max_pods=8; may be repeated",
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects the training job to a command's parser."""
    parser.add_argument(
        "--training", action="store_true", help="the training job (RayJob) instead of the service"
    )


def selected_environment(args: argparse.Namespace) -> Environment:
    """Return the environment that the options select."""
    return read_environment(args.env, args.changes)


def selected_documents(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the selected manifests in the order in which to apply them; the Ray object is the last.

    Raises:
        EnvironmentSettingsError: The settings are not valid, or have no training.
    """
    from cluster.kuberay.manifests.render import service_documents, training_documents

    environment = selected_environment(args)
    if not args.training:
        return service_documents(environment)
    if documents := training_documents(environment):
        return documents
    raise EnvironmentSettingsError(
        f"environment {args.env!r} has no section [training]; add one, or omit --training"
    )
