"""Tests of the names of classes, read from the syntax trees of all packages."""

from __future__ import annotations

import ast
import builtins
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED_NAMES = {"_Frozen"}  # private pydantic base classes that hold the configuration of one module's models
PACKAGES = ("serve_app", "train", "cluster", "loadtest", "examples", "benchmarks")


def classes(*packages: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield the file and the definition of every class."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    yield path.relative_to(ROOT).as_posix(), node


def is_exception(name: str) -> bool:
    """Return whether a base class is an exception, by its name or as a built-in."""
    builtin = getattr(builtins, name, None)
    return name.endswith("Error") or (isinstance(builtin, type) and issubclass(builtin, BaseException))


def test_exceptions_end_in_error() -> None:
    wrong = [
        f"{file}: {node.name}"
        for file, node in classes(*PACKAGES, "tests")
        if not node.name.endswith("Error")
        and any(is_exception(ast.unparse(base).rpartition(".")[2]) for base in node.bases)
    ]
    assert not wrong


def test_a_class_name_has_one_meaning() -> None:
    files = defaultdict(list)
    for file, node in classes(*PACKAGES):
        files[node.name].append(file)
    repeated = {name: places for name, places in files.items() if len(places) > 1}
    assert {name: places for name, places in repeated.items() if name not in SHARED_NAMES} == {}
    assert set(repeated) >= SHARED_NAMES, "an exception that is not needed"
