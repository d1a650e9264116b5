"""Tests of the Makefile: safe command lines, selection of the Python interpreter, and the help text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCUMENTED = set(re.findall(r"^([a-z][a-z/-]*):.*  ## ", MAKEFILE, re.MULTILINE))
# These targets set up the environment, or run a script of their own.
OTHERS = {"help", "clean", "environment", "lock", "release", "build/kserve-client"}
RUN_HERE = sorted(DOCUMENTED - OTHERS)
OWN = {
    "BIN",
    "CONTROL",
    "PIP",
    "PIP_COMPILE",
    "VENV",
    "PYTHON",
    "PYTHONS",
    "PYTHON_VERSION",
    "RELEASE",
    "ON_CLUSTER",
} | {"WITH_IMAGE"}
VARIABLES = sorted(set(re.findall(r"\$\(([A-Z][A-Z_]+)\)", MAKEFILE)) - OWN)
HOSTILE = """a b ' " ; touch pwned; `touch pwned` | touch pwned & touch pwned > pwned"""
UP_TO_DATE = [f"--old-file=.venv/{name}.stamp" for name in ("serve", "loadtest", "all")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and stand-ins for all programs, which only record their arguments."""
    folder = tmp_path / "checkout"
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    record = (
        f"import json, sys; open({str(tmp_path / 'told')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
    )
    for name in ("python", "ruff", "mypy", "../../aws", "../../docker"):
        program = folder / ".venv/bin" / name
        program.write_text(f"#!{sys.executable}\n{record}\n")
        program.chmod(0o755)
    for name in ("serve", "loadtest", "all"):
        (folder / f".venv/{name}.stamp").touch()
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder


def make(checkout: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    # Without these variables, make is independent of an outer make, whose name would be in the output.
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    environment["PATH"] = f"{path or checkout}:{os.environ['PATH']}"
    return subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def told(checkout: Path) -> list[list[str]]:
    file = checkout.parent / "told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize("target", RUN_HERE)
def test_nothing_from_the_command_line_is_run_by_a_shell(checkout: Path, target: str) -> None:
    values = [f"{name}={HOSTILE}" for name in VARIABLES if not name.endswith(("_ARGS", "_PLACE"))]
    options = [f"{name}=-x 'a b' ; touch pwned `touch pwned` | touch pwned" for name in VARIABLES]
    options = [option for option in options if option.partition("=")[0].endswith(("_ARGS", "_PLACE"))]
    ran = make(checkout, *UP_TO_DATE, f"PYTHON={sys.executable}", *values, *options, target)
    assert not list(checkout.rglob("pwned"))
    assert told(checkout), ran.stderr
    assert "syntax" not in ran.stderr.lower(), ran.stderr


@pytest.mark.parametrize(
    "model", ["/path with spaces", "it's", 'a "model"', "a;b", "a&b|c", "`id`", "*", "a\\b"]
)
def test_a_model_reaches_the_service_as_it_is(checkout: Path, model: str) -> None:
    make(checkout, *UP_TO_DATE, f"PYTHON={sys.executable}", "serve", f"MODEL={model}")
    ((*_, option, value),) = told(checkout)
    assert (option, value) == ("--model", model)


def test_options_keep_their_quoted_words(checkout: Path) -> None:
    make(checkout, *UP_TO_DATE, f"PYTHON={sys.executable}", "test-fast", "PYTEST_ARGS=-k 'a or b' -x")
    assert told(checkout)[-1][-3:] == ["-k", "a or b", "-x"]


def test_options_that_cannot_be_split_are_an_error(checkout: Path) -> None:
    ran = make(checkout, *UP_TO_DATE, f"PYTHON={sys.executable}", "test-fast", "PYTEST_ARGS=-k 'a")
    assert ran.returncode != 0 and "-k 'a" in ran.stderr and not told(checkout)


def program(path: Path, version: str) -> Path:
    """Write a stand-in for Python that reports the given version, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""#!{sys.executable}
import os, pathlib, sys
if sys.argv[1] == "-c":
    print("{version}")
elif sys.argv[1:3] == ["-m", "venv"]:
    bin = pathlib.Path(sys.argv[3], "bin")
    bin.mkdir(parents=True)
    for name in ("python", "python{version}"):
        (bin / name).symlink_to(sys.argv[0])
"""
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("version", ["3.10", "3.14", "2.7"])
def test_an_unsupported_python_is_named_with_those_that_are_supported(
    checkout: Path, tmp_path: Path, version: str
) -> None:
    python = program(tmp_path / "other" / "python3", version)
    shutil.rmtree(checkout / ".venv")
    ran = make(checkout, "serve", path=str(python.parent))
    assert ran.returncode != 0
    assert f"is Python {version}, expected Python 3.11, 3.12, 3.13" in ran.stderr and "PYTHON=" in ran.stderr


def test_a_python_that_is_not_there_is_named(checkout: Path) -> None:
    ran = make(checkout, "serve", "PYTHON=/nowhere/python3")
    assert ran.returncode != 0 and "/nowhere/python3 does not run, expected Python 3.11" in ran.stderr


def test_an_environment_of_another_python_is_made_again(checkout: Path, tmp_path: Path) -> None:
    old, new = (program(tmp_path / version / "python3", version) for version in ("3.11", "3.12"))
    shutil.rmtree(checkout / ".venv")

    def of() -> list[str]:
        assert (checkout / ".venv/serve.stamp").exists()
        return [path.name for path in (checkout / ".venv/bin").glob("python3.*")]

    assert make(checkout, ".venv/serve.stamp", f"PYTHON={old}").returncode == 0
    (checkout / ".venv/mark").touch()
    # A working environment stays, whatever python3 is on the PATH.
    assert make(checkout, ".venv/serve.stamp", path=str(new.parent)).returncode == 0
    assert of() == ["python3.11"] and (checkout / ".venv/mark").exists()
    assert make(checkout, ".venv/serve.stamp", f"PYTHON={new}").returncode == 0
    assert of() == ["python3.12"] and not (checkout / ".venv/mark").exists()
    # The environment's Python is removed, as by an upgrade of the system.
    new.unlink()
    assert make(checkout, ".venv/serve.stamp", path=str(old.parent)).returncode == 0
    assert of() == ["python3.11"]


def test_help_lists_every_target_that_is_meant_to_be_called(checkout: Path) -> None:
    phony = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert phony
    listed = {line.split()[0] for line in make(checkout, "help").stdout.splitlines()}
    assert listed == DOCUMENTED
    assert set(phony[1].replace("\\", " ").split()) - listed == {"new-environment", "unsupported-python"}
