"""Tests of the lock files: every requirement is locked in a version that it allows."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ALL = ROOT / "requirements.txt"
SERVE = ROOT / "requirements/serve.txt"
DOCS = ROOT / "requirements/docs.txt"
CONTROL = ROOT / "requirements/control.in"
MAKEFILE = (ROOT / "Makefile").read_text()
PYTHONS = re.findall(r"^PYTHONS := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
OF_PYTORCH = re.compile(r"nvidia-|cuda-|triton$")
"""Packages that PyTorch's build pins itself; `make lock` removes them."""


def requirements(path: Path) -> list[Requirement]:
    """Return the requirements of a file and of the files that it includes."""
    found = []
    for line in path.read_text().splitlines():
        words = line.partition("#")[0].strip()
        if words.startswith("-r "):
            found += requirements(path.parent / words.removeprefix("-r "))
        elif words:
            found.append(Requirement(words))
    return found


def locked(path: Path) -> dict[str, str]:
    """Return the version of every package of a lock file."""
    pins = requirements(path)
    assert all(len(pin.specifier) == 1 and str(pin.specifier).startswith("==") for pin in pins)
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


@pytest.mark.parametrize(
    ("source", "lock"), [("all.in", ALL), ("control.in", ALL), ("serve.in", SERVE), ("docs.in", DOCS)]
)
def test_every_requirement_is_locked(source: str, lock: Path) -> None:
    versions = locked(lock)
    stale = [
        str(wanted)
        for wanted in requirements(ROOT / "requirements" / source)
        if (version := versions.get(canonicalize_name(wanted.name))) is None
        or version not in wanted.specifier
    ]
    assert not stale, f"run `make lock`: {lock.name} lacks {stale}"


def test_what_is_served_is_what_is_tested() -> None:
    assert locked(SERVE).items() <= locked(ALL).items()


def test_the_control_plane_needs_no_pytorch() -> None:
    """Builds that only call the cluster install control.in, and not CUDA."""
    program = """if True:
        import sys
        for name in ("torch", "transformers", "tokenizers", "safetensors", "peft"):
            sys.modules[name] = None  # an import of it raises ImportError
        from cluster.__main__ import main
        sys.exit(main(sys.argv[1:]))
    """
    assert not {"torch", "transformers"} & {pin.name for pin in requirements(CONTROL)}
    for words in (["render", "--env", "prod", "--training"], ["rollout", "status", "--journal", "{folder}"]):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", program, *(word.format(folder=folder) for word in words)]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr


def test_every_file_of_requirements_is_in_the_lock() -> None:
    named = {line.removeprefix("-r ") for line in (ROOT / "requirements/all.in").read_text().splitlines()}
    # The documentation's tools have a lock file of their own.
    assert {path.name for path in (ROOT / "requirements").glob("*.in")} - {"all.in", "docs.in"} <= named


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_complete_for_each_python(python: str) -> None:
    """Check Requires-Python of every locked package, and every dependency that it has with this Python."""
    versions = locked(ALL)
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    todo, done, faults = requirements(ROOT / "requirements/all.in"), set(), []
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if OF_PYTORCH.match(name) or (name, *sorted(wanted.extras)) in done:
            continue
        done.add((name, *sorted(wanted.extras)))
        if versions.get(name) not in wanted.specifier:
            faults.append(f"{wanted}: {versions.get(name)} is locked")
            continue
        package = metadata.distribution(name)
        assert package.version.partition("+")[0] == versions[name], f"{name}: run `make environment`"
        if f"{python}.0" not in SpecifierSet(package.metadata.get("Requires-Python") or ""):
            faults.append(f"{name} {package.version} does not support Python {python}")
        for line in package.requires or ():
            dependency = Requirement(line)
            extras = wanted.extras or {""}
            if dependency.marker is None or any(
                dependency.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                todo.append(dependency)
    assert len({name for name, *_ in done}) > 100
    assert not faults


def test_the_supported_pythons_are_those_of_the_package() -> None:
    supported = SpecifierSet(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    minors = [f"3.{minor}" for minor in range(30)]
    assert [python for python in minors if f"{python}.0" in supported] == PYTHONS
