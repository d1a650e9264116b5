"""Tests of every command in the README and the first steps, and the commands without a test of their own."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.conftest import ROOT, Service

PAGES = (ROOT / "README.md", ROOT / "docs/quickstart.md")
ELSEWHERE = {
    "make serve": "test_make_serve.py",
    "curl -s localhost:8000/v1/classify": "test_service.py",
    "make chaos": "test_chaos.py",
    "make docs": "test_docs_site.py",
    "pip install": "test_packaging.py",
    "sentiment": "test_packaging.py",
    "make test": "this run",
    "make lint": "what `make test` runs first",
    "make help": "test_makefile.py",
}
HERE = {
    "make loadtest": [
        "PORT={port}",
        "LOADTEST_ARGS=--duration 3 --warmup 1 --p95-ms 60000 --min-per-minute 1",
    ],
    "make bench": ["BENCH_ARGS=model --texts 24 --rounds 1"],
    "python -m train --help": [],
    "python -m cluster cost": [],
}


def commands() -> set[str]:
    """Return every command in the blocks and in the text of the pages."""
    text = "\n".join(page.read_text() for page in PAGES).replace("\\\n", "")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    found = {line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()}
    found |= set(re.findall(r"`((?:make|python -m|curl|pip) [^`]+)`", text))
    return {command for command in found if command}


def test_each_command_is_run_by_a_test() -> None:
    known = [*ELSEWHERE, *HERE]
    assert {command for command in commands() if not any(command.startswith(name) for name in known)} == set()
    assert {name for name in known if not any(command.startswith(name) for command in commands())} == set()


def test_what_documented_commands_write_is_ignored_by_git() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    folders = {
        folder for page in pages for folder in re.findall(r"SENTIMENT_LOG_URI=([\w/]+) ", page.read_text())
    }
    assert "logs" in folders
    for folder in folders:
        ignored = ["git", "check-ignore", "--quiet", f"{folder}/predictions/day/part.parquet"]
        assert subprocess.run(ignored, cwd=ROOT).returncode == 0, f"{folder} would be committed"


@pytest.mark.serve
@pytest.mark.parametrize("command", HERE)
def test_the_commands_without_a_test_of_their_own(command: str, service: Service) -> None:
    port = service.url.rpartition(":")[2]
    words = command.split() + [argument.format(port=port) for argument in HERE[command]]
    path = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(words, cwd=ROOT, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
