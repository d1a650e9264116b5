"""Former commands of the examples, which still run for one release, with a warning."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from cluster.errors import ClusterError

_MOVED = {("demo",): "examples.closed_loop", ("rollout", "demo"): "examples.canary_rollout"}


def run_moved(arguments: Sequence[str]) -> int | None:
    """Run the example that the arguments name by its former command; return None if they name none.

    Raises:
        ClusterError: The examples are not installed.
    """
    for command, module in _MOVED.items():
        if tuple(arguments[: len(command)]) == command:
            return _run(" ".join(command), module, arguments[len(command) :])
    return None


def _run(command: str, module: str, arguments: Sequence[str]) -> int:
    print(
        f"warning: `{command}` is now `python -m {module}`, and will be removed from this command line",
        file=sys.stderr,
    )
    try:
        example = importlib.import_module(f"{module}.__main__")
    except ModuleNotFoundError as error:
        if not (error.name and module.startswith(error.name)):
            raise
        raise ClusterError(
            f"{module} is not installed: the examples are only in the source folder; "
            f"run `python -m {module}` there"
        ) from error
    status: int = example.main(arguments)
    return status
