"""Namespaces around a test run: the kernel ends every process and removes every link and mount with them.

    python -m tests.operator.harness.isolation BINARIES STATE [PYTEST ARGUMENT]…

This is the first process of the process namespace, and the parent of pytest.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.operator.harness.binaries import Binaries

BINARIES = "OPERATOR_TEST_BINARIES"
STATE = "OPERATOR_TEST_STATE"
_STATE = Path("build/operator-test")
_LOGS = Path("build/operator-test-logs")


def isolated_command(binaries: Binaries, checkout: Path, arguments: list[str]) -> list[str]:
    """Return the command that runs pytest in its own namespaces; killing it ends everything."""
    state = checkout / _STATE
    state.mkdir(parents=True, exist_ok=True)
    return [
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        sys.executable, "-m", __name__, str(binaries.folder), str(state), *arguments,
    ]  # fmt: skip


def main(binaries: Path, state: Path, arguments: list[str]) -> int:
    """Run pytest with its state in memory, and keep the logs of a failed run.

    Returns:
        The exit code of pytest.
    """
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(state)], check=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest also receives it, and ends by itself
    pytest = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        env={**os.environ, BINARIES: str(binaries), STATE: str(state)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    signal.signal(signal.SIGTERM, lambda *_: pytest.send_signal(signal.SIGINT))
    code = _wait(pytest.pid)
    if code:
        _keep_logs(state, state.parents[1] / _LOGS)
    return code


def _wait(child: int) -> int:
    """Return the exit code of a child; orphans that end before it are reaped."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _keep_logs(state: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for path in [*state.glob("logs/*.log"), *state.glob("pods/*/*.log")]:
        kept = target / path.relative_to(state)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, kept)
    print(f"logs of the cluster: {target}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
