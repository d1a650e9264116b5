"""Tests of the Lambda functions' zip files: reproducible, complete, with imports that Lambda provides."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cluster.aws.package import FUNCTIONS, handler, main, package
from tests.conftest import ROOT

FOLDER = ROOT / "cluster" / "aws" / "functions"
BROUGHT = {"boto3", "botocore"}


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first = [hashlib.sha256(path.read_bytes()).hexdigest() for path in package(tmp_path / "a")]
    (tmp_path / "b").mkdir()
    assert main([str(tmp_path / "b")]) == 0
    second = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / "b").iterdir())]
    assert sorted(first) == sorted(second) and len(set(first)) == len(FUNCTIONS)


def test_every_function_is_packed() -> None:
    handlers = {path.stem for path in FOLDER.glob("*.py") if "\ndef handler(" in path.read_text()}
    assert handlers == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_zip_alone_has_its_handler(tmp_path: Path, name: str) -> None:
    """Import the handler from the zip, in a process without access to the rest of this repository."""
    package(tmp_path)
    module, _, function = handler(name).rpartition(".")
    code = f"import {module} as found; print(found.__file__, callable(found.{function}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / f"{name}.zip")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [f"{tmp_path}/{name}.zip/{module.replace('.', '/')}.py", "True"], (
        done.stderr
    )


def test_everything_in_a_zip_can_be_read_by_lambda(tmp_path: Path) -> None:
    for path in package(tmp_path):
        with zipfile.ZipFile(path) as archive:
            assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o100644}


def test_a_function_imports_boto3_and_the_standard_library_alone() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                room = module.partition(".")[0]
                ours = module.startswith("cluster.aws.functions.")
                assert ours or room in BROUGHT or room in sys.stdlib_module_names, f"{path.name}: {module}"
