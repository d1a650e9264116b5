"""Tests that the guard of `make serve` ends all processes of its command, however the launcher ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from serve_app.dev_server import guard
from tests.conftest import ROOT

PATIENCE_S = 30
# A child, a daemon that leaves its session and parent, and a process that ignores SIGTERM.
COMMAND = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
sleeper = [sys.executable, "-c", "import time; time.sleep(600)", str(folder)]
subprocess.Popen(sleeper)
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
stubborn += "print(1, flush=True); time.sleep(600)"
ready = subprocess.Popen([sys.executable, "-c", stubborn, str(folder)], stdout=subprocess.PIPE)
ready.stdout.readline()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        (folder / "ready").touch()
        time.sleep(600)
    os._exit(0)
os.wait()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while not (folder / "end").exists():
    time.sleep(0.02)
os._exit(3)
"""
LAUNCHER = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def guarded(tmp_path: Path) -> list[str]:
    (tmp_path / "files").mkdir()
    return [
        sys.executable,
        "-m",
        guard.__name__,
        str(tmp_path / "files"),
        sys.executable,
        "-c",
        COMMAND,
        str(tmp_path),
    ]


def family(folder: Path) -> list[psutil.Process]:
    """Return all processes for the folder, including the guard."""
    until(lambda: (folder / "ready").exists())
    every = psutil.process_iter(["cmdline"])
    found = [one for one in every if any(str(folder) in word for word in one.info["cmdline"] or ())]
    assert len(found) >= 5
    return found


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE_S)
    return not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all(tmp_path: Path, guarded: list[str], number: int) -> None:
    child = psutil.Popen(guarded, cwd=ROOT, stdin=subprocess.PIPE)
    processes = family(tmp_path)
    child.send_signal(number)
    assert child.wait(timeout=PATIENCE_S) == 0
    child.stdin.close()
    assert gone(processes)


def test_the_end_of_the_command_is_a_failure(tmp_path: Path, guarded: list[str]) -> None:
    child = psutil.Popen(guarded, cwd=ROOT, stdin=subprocess.PIPE)
    processes = family(tmp_path)
    (tmp_path / "end").touch()
    assert child.wait(timeout=PATIENCE_S) == 1
    child.stdin.close()
    assert gone(processes)
    assert (tmp_path / "files").exists()


def test_kill_of_the_launcher_leaves_nothing(tmp_path: Path, guarded: list[str]) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *guarded], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    processes = family(tmp_path)
    launcher.kill()
    launcher.communicate()
    assert gone(processes)
    assert not (tmp_path / "files").exists()


def test_kill_of_the_guard_leaves_nothing(tmp_path: Path, guarded: list[str]) -> None:
    child = psutil.Popen(guarded, cwd=ROOT, stdin=subprocess.PIPE)
    processes = family(tmp_path)
    child.kill()
    child.wait()
    # The launcher does this when it detects the end of the guard.
    guard.end(child, tmp_path)
    assert gone(processes)
