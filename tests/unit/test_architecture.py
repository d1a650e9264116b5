"""The layout is the architecture: which room may import which, held by a walk over the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "serve_app": {"serve_app"},
    "train": {"train", "serve_app"},
    "cluster": {"cluster", "train", "serve_app"},
    "loadtest": {"loadtest"},
    "benchmarks": {"benchmarks", "cluster", "train", "serve_app", "loadtest", "tests"},
}
ROOMS = {*MAY_IMPORT, "tests"}
MODEL = ("acceptance", "classifier", "graph", "head", "lora", "packed", "padding", "tokenizer")
TORCH = {f"serve_app/model/{name}.py" for name in MODEL}
PYARROW = "serve_app/capture/parquet.py"
MLFLOW = "train/registry/tracking.py"
SETTINGS = "serve_app/settings.py"


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            yield node.module or ""


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_one_way(room: str) -> None:
    assert files(room), f"{room}/ is empty"
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files(room)
        for module in imports(path)
        if (top := module.partition(".")[0]) in ROOMS and top not in MAY_IMPORT[room]
    }
    assert not wrong


def test_the_data_plane_needs_no_training_package() -> None:
    heavy = {"peft", "sklearn", "pandas", "mlflow", "evidently", "locust", "kubernetes"}
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files("serve_app")
        for module in imports(path)
        if module.partition(".")[0] in heavy
    }
    assert not wrong


def test_torch_is_imported_in_the_model_alone() -> None:
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in files("serve_app")
        if any(module.partition(".")[0] in ("torch", "transformers") for module in imports(path))
    }
    assert importers == TORCH


def test_pyarrow_is_imported_by_the_log_alone_and_only_when_it_is_on() -> None:
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in files("serve_app")
        if any(module.partition(".")[0] == "pyarrow" for module in imports(path))
    }
    assert importers == {PYARROW}
    code = "import sys, serve_app.deployment; print('serve_app.capture.parquet' in sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "False"


def test_one_file_speaks_to_mlflow() -> None:
    importers = {
        path.relative_to(ROOT).as_posix()
        for room in MAY_IMPORT
        for path in files(room)
        if any(module.partition(".")[0] == "mlflow" for module in imports(path))
    }
    assert importers == {MLFLOW}


def test_settings_is_the_only_reader_of_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in files("serve_app")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"))
    }
    # HAProxy's own program starts without the packages that the settings need.
    assert readers == {SETTINGS, "serve_app/haproxy/__main__.py"}


def test_the_command_imports_a_package_only_to_run_it() -> None:
    assert {module.partition(".")[0] for module in imports(ROOT / "sentiment.py")} <= sys.stdlib_module_names


def test_every_file_says_first_what_it_is() -> None:
    silent = [
        path.relative_to(ROOT).as_posix()
        for room in MAY_IMPORT
        for path in files(room)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent
