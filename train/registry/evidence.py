"""What a training run leaves behind: parameters, figures, history, files, as the registry keeps them.

`report.json` is read generically: its `settings` become parameters, its other numbers figures with dotted
names, its `history` figures with steps. A key that a later `fit` adds needs nothing here.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_app.model.bundle import MANIFEST, BundleManifest, read_manifest
from train.errors import RegistryRefused
from train.registry.versions import Parent

REPORT = "report.json"
_EVALUATION = "evaluation/evaluation.json"
_HISTORY, _SETTINGS, _STEP = "history", "settings", "step"
_NOT_A_FIGURE = {_HISTORY, _SETTINGS, "parent"}
_FILES = ("*.json", "*.png", "*.html", "*.toml", "*.csv", "*.md")


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a figure's history."""

    name: str
    value: float
    step: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept of a run beside its bundle."""

    parameters: Mapping[str, str]
    figures: Mapping[str, float]
    history: Sequence[Point]
    files: Mapping[str, Path]
    """By the name they are kept under, relative to the run."""
    parent: Parent | None


def find_bundle(path: Path) -> tuple[Path, Path | None]:
    """The bundle at `path`, a run's folder or the bundle itself, and the run's folder if it is one.

    Raises:
        RegistryRefused: There is no bundle.
    """
    if (path / "bundle" / MANIFEST).is_file():
        return path / "bundle", path
    if (path / MANIFEST).is_file():
        return path, None
    raise RegistryRefused(
        f"no {MANIFEST} in {path} nor in {path / 'bundle'}; give the folder that `fit --out` wrote, or a "
        "bundle, and bring any other model in with `import`"
    )


def read_evidence(bundle: Path, run: Path | None) -> Evidence:
    """Read what the run's folder holds; without one, what the bundle says of itself.

    Raises:
        RegistryRefused: The report is not JSON, or is the report of other data than the bundle's.
    """
    manifest = read_manifest(bundle)
    report = _read_json(run / REPORT, "run fit again, or remove it") if run is not None else {}
    _check_same_data(report, manifest, run)
    measured = {key: value for key, value in report.items() if key not in _NOT_A_FIGURE}
    return Evidence(
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
        raise RegistryRefused(f"{path} cannot be read: {error}; {remedy}") from error
    if not isinstance(found, dict):
        raise RegistryRefused(f"{path} is not a JSON object; {remedy}")
    return found


def _evaluated(path: Path) -> Iterator[tuple[str, float]]:
    """What `evaluate` measured of the version on each set: `evaluation.SET.figures.accuracy` and so on."""
    for of_set in _read_json(path, "run evaluate again, or remove it").get("sets", ()):
        yield from _numbers(of_set.get("candidate"), _joined("evaluation", of_set.get("name")))


def _check_same_data(report: Mapping[str, Any], manifest: BundleManifest, run: Path | None) -> None:
    said = report.get("data_digest")
    if said and manifest.data_digest and said != manifest.data_digest:
        raise RegistryRefused(
            f"{run}: {REPORT} is of the data {said}, the bundle of {manifest.data_digest}; they are of two "
            "runs: give each run a folder of its own"
        )


def _parameters(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf by its dotted name; lists by number."""
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
    """Every finite number below `value`; true and false are none, and lists are not looked into."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, _joined(name, key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, float(value)


def _history(looks: object) -> Iterator[Point]:
    """The numbers of each look at the model during the run, at the look's step."""
    for place, look in enumerate(looks if isinstance(looks, list) else ()):
        if isinstance(look, Mapping):
            step = look.get(_STEP)
            at = step if isinstance(step, int) else place
            rest = {key: value for key, value in look.items() if key != _STEP}
            yield from (Point(name, value, at) for name, value in _numbers(rest, _HISTORY))


def _parent(value: object) -> Parent | None:
    if isinstance(value, Mapping) and value.get("name") and value.get("version"):
        digest = value.get("digest")
        return Parent(str(value["name"]), str(value["version"]), str(digest) if digest else None)
    return None


def _files(run: Path) -> dict[str, Path]:
    """The report, its plots, and the whole evaluation; neither weights nor checkpoints."""
    found = [path for pattern in _FILES for path in run.glob(pattern)]
    found += [path for path in (run / "evaluation").rglob("*") if path.is_file()]
    return {path.relative_to(run).as_posix(): path for path in sorted(found)}


def _joined(name: str, key: object) -> str:
    """A dotted name of the characters that MLflow takes in one."""
    part = re.sub(r"[^A-Za-z0-9_. /-]", "_", str(key)).replace("/", ".")
    return f"{name}.{part}" if name else part
