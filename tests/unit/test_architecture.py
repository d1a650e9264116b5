"""Tests of the architecture: allowed imports between packages, checked on the syntax trees."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "serve_app": {"serve_app"},
    "train": {"train", "serve_app"},
    "cluster": {"cluster", "train", "serve_app"},
    "loadtest": {"loadtest"},
    "examples": {"examples", "cluster", "train", "serve_app"},
    "benchmarks": {"benchmarks", "examples", "cluster", "train", "serve_app", "loadtest", "tests"},
}
ROOMS = {*MAY_IMPORT, "tests"}
MODEL = (
    *("acceptance", "classifier", "head", "lora", "packed", "padding", "precision", "recorded"),
    *("recording_cache", "scorer", "tokenizer", "torchscript"),
)
TORCH = {f"serve_app/model/{name}.py" for name in MODEL}
PYARROW = "serve_app/prediction_log/parquet.py"
MLFLOW = "train/registry/mlflow_backend.py"
SETTINGS = "serve_app/settings.py"


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, also inside functions."""
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
    module = PYARROW.removesuffix(".py").replace("/", ".")
    code = f"import sys, serve_app.replica.deployment; print('{module}' in sys.modules)"
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
    # The HAProxy launcher starts without the packages that the settings need.
    assert readers == {SETTINGS, "serve_app/haproxy/__main__.py"}


@dataclass(frozen=True)
class Diagram:
    """Boxes of a diagram with their labels, and the solid arrows between them."""

    boxes: dict[str, str]
    arrows: set[tuple[str, str]]

    @classmethod
    def parse(cls, text: str) -> Diagram:
        boxes = dict(re.findall(r'(\w+)\["([^"]+)"\]', text))
        arrows = set(re.findall(r"^\s*(\w+) --> (\w+)", re.sub(r"\[[^]]*\]", "", text), re.MULTILINE))
        return cls(boxes, arrows)

    @property
    def code(self) -> dict[str, Path]:
        return {name: ROOT / label for name, label in self.boxes.items() if (ROOT / label).exists()}

    def imports(self) -> set[tuple[str, str]]:
        """Return the imports between the boxes in the code."""
        return {
            (one, other)
            for one, path in self.code.items()
            for file in ([path] if path.is_file() else path.rglob("*.py"))
            for module in imported_modules(file)
            for other, target in self.code.items()
            if one != other and module.is_relative_to(target)
        }

    def reachable(self) -> set[tuple[str, str]]:
        """Return the pairs of boxes that are connected by a path of arrows."""
        pairs = set(self.arrows)
        while more := {(a, d) for a, b in pairs for c, d in self.arrows if b == c} - pairs:
            pairs |= more
        return pairs


def imported_modules(path: Path) -> set[Path]:
    """Return the files of this project that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names] + [node.module or ""]
        else:
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        found |= {(ROOT / name.replace(".", "/")).with_suffix(".py") for name in names}
        found |= {ROOT / name.replace(".", "/") / "__init__.py" for name in names}
    return {file for file in found if file.exists()}


DIAGRAMS = [
    Diagram.parse(text)
    for text in re.findall(r"```mermaid\n(.*?)```", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)
]


def test_there_is_a_diagram_of_the_request_and_one_of_the_loop() -> None:
    assert [
        set(diagram.boxes.values()) & {"serve_app/http/routes.py", "cluster/continuous_training"}
        for diagram in DIAGRAMS
    ] == [
        {"serve_app/http/routes.py"},
        {"cluster/continuous_training"},
    ]


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=["request", "loop"])
def test_the_arrows_of_the_diagrams_are_the_imports(diagram: Diagram) -> None:
    unknown = {label for label in diagram.boxes.values() if "/" in label and not (ROOT / label).exists()}
    assert not unknown, f"docs/architecture.md: no such file or folder: {unknown}"
    assert {name for arrow in diagram.arrows for name in arrow} <= set(diagram.code)
    imports = diagram.imports()
    assert diagram.arrows <= imports, f"docs/architecture.md: no import: {diagram.arrows - imports}"
    missing = imports - diagram.reachable()
    assert not missing, f"docs/architecture.md: an import that no arrows lead along: {missing}"


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
