"""The command `sentiment`: one entry for serving, training, the cluster and load tests.

Each command is the same code as `python -m PACKAGE`. Its package is imported when it runs: `--help` is
quick, and an installation without an extra works as far as it can.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import NamedTuple

_DISTRIBUTION = "sentiment-service"


class _Command(NamedTuple):
    package: str
    summary: str


_COMMANDS = {
    "serve": _Command("serve_app", "serve a model over HTTP on this machine, until Ctrl-C"),
    "train": _Command("train", "train, measure and keep text classifiers"),
    "cluster": _Command("cluster", "run the service on KubeRay and EKS, and compute what it costs"),
    "loadtest": _Command("loadtest", "check the promised rate and latency of a running service"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return its exit code, or 2 if a package is missing."""
    parser = argparse.ArgumentParser(
        prog="sentiment",
        description="Text classification on Ray Serve.",
        epilog="\n".join(
            ["commands:", *(f"  {name:10} {command.summary}" for name, command in _COMMANDS.items())]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="store_true", help="print the version of the installed package and exit"
    )
    parser.add_argument("command", nargs="?", choices=_COMMANDS, metavar="command", help="see below")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="arguments of the command; --help describes them"
    )
    args = parser.parse_args(arguments)
    if args.version:
        try:
            print(metadata.version(_DISTRIBUTION))
        except metadata.PackageNotFoundError:
            parser.error(f"{_DISTRIBUTION} is not installed as a package: pyproject.toml has the version")
        return 0
    if args.command is None:
        parser.error(f"a command is missing (expected one of {', '.join(_COMMANDS)})")
    return _run(args.command, args.arguments)


def _run(name: str, arguments: Sequence[str]) -> int:
    sys.argv = [f"sentiment {name}", *arguments]
    try:
        return int(importlib.import_module(f"{_COMMANDS[name].package}.__main__").main())
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", *(command.package for command in _COMMANDS.values())}:
            raise
        print(
            f"error: sentiment {name} needs the package {missing}, which is not installed in {sys.prefix}; "
            f"in the source folder of {_DISTRIBUTION} run: {sys.executable} -m pip install '.[{name}]'",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
