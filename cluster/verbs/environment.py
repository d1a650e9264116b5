"""The options that say which environment: its name or file, and single changes."""

import argparse

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


def chosen_environment(chosen: argparse.Namespace) -> Environment:
    """The environment that the options describe."""
    return read_environment(chosen.env, chosen.changes)
