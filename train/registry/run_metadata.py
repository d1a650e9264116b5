"""Metadata of a training run in the registry: parameters, metrics, their history, and files.

`report.json` is read generically: its `settings` become parameters, its other numbers become metrics with
dotted names, and its `history` becomes metrics with steps. New keys of `fit` need no change here.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.model.bundle import MANIFEST, BundleManifest, read_manifest
from train.errors import RegistryRequestError
from train.registry.references import ParentVersion

REPORT = "report.json"
_EVALUATION = "evaluation/evaluation.json"
_HISTORY, _SETTINGS, _STEP = "history", "settings", "step"
_NOT_A_FIGURE = {_HISTORY, _SETTINGS, "parent"}
_FILES = ("*.json", "*.png", "*.html", "*.toml", "*.csv", "*.md")


@dataclass(frozen=True, slots=True)
class Point:
    """Value of a metric at a step."""

    name: str
    value: float
    step: int


@dataclass(frozen=True, slots=True)
class RunMetadata:
    """Metadata of a run, without its bundle."""

    parameters: Mapping[str, str]
    figures: Mapping[str, float]
    history: Sequence[Point]
    files: Mapping[str, Path]
    """Paths by the name in the registry, relative to the run."""
    parent: ParentVersion | None


def find_bundle(path: Path) -> tuple[Path, Path | None]:
    """Return the bundle at `path`, which is a run's folder or a bundle, and the run's folder or None.

    Raises:
        RegistryRequestError: There is no bundle.
    """
    if (path / "bundle" / MANIFEST).is_file():
        return path / "bundle", path
    if (path / MANIFEST).is_file():
        return path, None
    raise RegistryRequestError(
        f"no {MANIFEST} in {path} nor in {path / 'bundle'}; expected the folder of `fit --out` or a bundle; "
        "use `import` for other models"
    )


def read_evidence(bundle: Path, run: Path | None) -> RunMetadata:
    """Read the metadata in the run's folder, or without one the metadata in the bundle.

    Raises:
        RegistryRequestError: The report is not JSON, or is for other data than the bundle's.
    """
    manifest = read_manifest(bundle)
    report = _read_json(run / REPORT, "run fit again, or remove it") if run is not None else {}
    _check_same_data(report, manifest, run)
    measured = {key: value for key, value in report.items() if key not in _NOT_A_FIGURE}
    return RunMetadata(
        parameters=dict(_parameters(report.get(_SETTINGS))),
        figures={
            **dict(_numbers(measured)),
            **dict(_numbers(manifest.metrics)),
            **(dict(_evaluated(run / _EVALUATION)) if run is not None else {}),
        },
        history=list(_history(report.get(_HISTORY))),
        files=_files(run) if run is not None else {},
        parent=_parent(report.get("parent")),
    )


def _read_json(path: Path, remedy: str) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RegistryRequestError(f"{path} cannot be read: {error}; {remedy}") from error
    if not isinstance(found, dict):
        raise RegistryRequestError(f"{path} is not a JSON object; {remedy}")
    return found


def _evaluated(path: Path) -> Iterator[tuple[str, float]]:
    """Yield the metrics of `evaluate` on each dataset: `evaluation.SET.figures.accuracy` and so on."""
    for of_set in _read_json(path, "run evaluate again, or remove it").get("sets", ()):
        yield from _numbers(of_set.get("candidate"), _joined("evaluation", of_set.get("name")))


def _check_same_data(report: Mapping[str, Any], manifest: BundleManifest, run: Path | None) -> None:
    digest = report.get("data_digest")
    if digest and manifest.data_digest and digest != manifest.data_digest:
        raise RegistryRequestError(
            f"{run}: {REPORT} is of the data {digest}, the bundle of {manifest.data_digest}; they are from "
            "two runs: use a separate folder for each run"
        )


def _parameters(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf with its dotted name; list items are numbered."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from _parameters(inner, _joined(name, key))
        case list() if any(isinstance(inner, dict | list) for inner in value):
            for number, inner in enumerate(value):
                yield from _parameters(inner, _joined(name, number))
        case None:
            return
        case _ if name:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _numbers(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every finite number in `value`, except booleans and items of lists."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, _joined(name, key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value)


def _history(evaluations: object) -> Iterator[Point]:
    """Yield the numbers of each evaluation during the run, at its step."""
    for index, evaluation in enumerate(evaluations if isinstance(evaluations, list) else ()):
        if isinstance(evaluation, Mapping):
            step = evaluation.get(_STEP)
            at = step if isinstance(step, int) else index
            rest = {key: value for key, value in evaluation.items() if key != _STEP}
            yield from (Point(name, value, at) for name, value in _numbers(rest, _HISTORY))


def _parent(value: object) -> ParentVersion | None:
    if isinstance(value, Mapping) and value.get("name") and value.get("version"):
        digest = value.get("digest")
        return ParentVersion(str(value["name"]), str(value["version"]), str(digest) if digest else None)
    return None


def _files(run: Path) -> dict[str, Path]:
    """Return the report, its plots, and the entire evaluation, without weights and checkpoints."""
    found = [path for pattern in _FILES for path in run.glob(pattern)]
    found += [path for path in (run / "evaluation").rglob("*") if path.is_file()]
    return {path.relative_to(run).as_posix(): path for path in sorted(found)}


def _joined(name: str, key: object) -> str:
    """Return a dotted name with the characters that MLflow allows."""
    part = re.sub(r"[^A-Za-z0-9_. /-]", "_", str(key)).replace("/", ".")
    return f"{name}.{part}" if name else part
