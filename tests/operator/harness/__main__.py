"""Runner of the tests in tests/operator: on the cluster of KUBECONFIG, otherwise on the suite's own cluster.

    python -m tests.operator.harness [PYTEST ARGUMENT]…

The suite's own cluster is built from source once. It runs in namespaces that the kernel removes when the
tests end, are interrupted or are killed. If it cannot run, the reason is printed and nothing is tested.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.operator.harness.binaries import ensure_binaries
from tests.operator.harness.isolation import isolated_command
from tests.operator.harness.operator_source import SourceError, SourceMissingError
from tests.operator.harness.requirements import missing_requirement

TESTS = "tests/operator"


def main(arguments: list[str]) -> int:
    """Replace this process with the test run; return only if there is none."""
    has_path = any(Path(one.partition("::")[0]).exists() for one in arguments)
    chosen = arguments if has_path else [TESTS, *arguments]
    if os.environ.get("KUBECONFIG"):
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen])
    if missing := missing_requirement():
        return _skip(missing)
    try:
        binaries = ensure_binaries(lambda line: print(line, flush=True))
    except SourceMissingError as error:
        return _skip(str(error))
    except (SourceError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    command = isolated_command(binaries, Path.cwd(), chosen)
    os.execvp(command[0], command)


def _skip(reason: str) -> int:
    print(f"skipped, no test with the real operator was run: {reason}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
