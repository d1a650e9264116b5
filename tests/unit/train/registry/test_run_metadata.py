"""Tests of the metadata of a run's folder: all figures and settings, no weights, no report of another run."""

import json
from pathlib import Path
from typing import Any

import pytest

from serve_app.model.bundle import write_manifest
from train.errors import RegistryRequestError
from train.registry.references import ParentVersion
from train.registry.run_metadata import Point, RunMetadata, find_bundle, read_evidence

DATA = "d" * 64
REPORT: dict[str, Any] = {
    "settings": {
        "seed": 3,
        "labels": ["N", "P"],
        "resume": None,
        "data": [{"name": "a/b", "passes": 2.0}, {"name": "c", "balance": True}],
    },
    "data_digest": DATA,
    "held_out": {"tweets & more": {"accuracy": 0.5, "texts": 10, "good": True}},
    "training_wall_s": 12.5,
    "history": [{"step": 10, "loss": 0.7, "by": {"N": 0.1}}, {"step": 20, "loss": 0.3}, {"loss": 0.2}],
    "parent": {"uri": "s3://b/p", "name": "senti", "version": "6", "digest": "6" * 64},
    "loss": float("nan"),
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    bundle = tmp_path / "run" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text("{}")
    (bundle / "model.safetensors").write_text("weights")
    write_manifest(
        bundle, name="senti", version="7", labels=["N", "P"], data_digest=DATA, metrics={"test": {"f1": 0.9}}
    )
    return tmp_path / "run"


def read(run: Path, report: object) -> RunMetadata:
    (run / "report.json").write_text(json.dumps(report))
    return read_evidence(*find_bundle(run))


def test_settings_become_parameters(run: Path) -> None:
    assert read(run, REPORT).parameters == {
        "seed": "3",
        "labels": '["N", "P"]',
        "data.0.name": "a/b",
        "data.0.passes": "2.0",
        "data.1.name": "c",
        "data.1.balance": "true",
    }


def test_finite_numbers_become_figures(run: Path) -> None:
    assert read(run, REPORT).figures == {
        "held_out.tweets _ more.accuracy": 0.5,
        "held_out.tweets _ more.texts": 10.0,
        "training_wall_s": 12.5,
        "test.f1": 0.9,
    }


def test_the_history_keeps_its_steps(run: Path) -> None:
    assert read(run, REPORT).history == [
        Point("history.loss", 0.7, 10),
        Point("history.by.N", 0.1, 10),
        Point("history.loss", 0.3, 20),
        Point("history.loss", 0.2, 2),
    ]


def test_the_parent_is_the_reports(run: Path) -> None:
    assert read(run, REPORT).parent == ParentVersion("senti", "6", "6" * 64)
    assert read(run, REPORT | {"parent": None}).parent is None


def test_what_evaluate_measured_of_the_version_becomes_figures(run: Path) -> None:
    models = {
        name: {
            "figures": {"accuracy": accuracy, "recall": {"N": 0.5}},
            "calibration": {"error": 0.01, "bins": [1]},
        }
        for name, accuracy in (("candidate", 0.9), ("against", 0.8))
    }
    (run / "evaluation").mkdir()
    (run / "evaluation" / "evaluation.json").write_text(json.dumps({"sets": [{"name": "dev", **models}]}))
    assert read(run, {}).figures == {
        "evaluation.dev.figures.accuracy": 0.9,
        "evaluation.dev.figures.recall.N": 0.5,
        "evaluation.dev.calibration.error": 0.01,
        "test.f1": 0.9,
    }


def test_report_plots_and_evaluation_are_kept_and_weights_are_not(run: Path) -> None:
    for name in ("learning_curves.png", "evaluation/report.html", "evaluation/plots/a.png", "ray/big.json"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x")
    (run / "checkpoint.safetensors").write_text("x")

    assert set(read(run, REPORT).files) == {
        "report.json",
        "learning_curves.png",
        "evaluation/report.html",
        "evaluation/plots/a.png",
    }


def test_a_bundle_alone_says_what_it_says(run: Path) -> None:
    found = read_evidence(*find_bundle(run / "bundle"))

    assert found.figures == {"test.f1": 0.9}
    assert not (found.parameters or found.history or found.files or found.parent)


def test_a_report_of_other_data_is_refused(run: Path) -> None:
    with pytest.raises(RegistryRequestError, match=r"report\.json is of the data eeee"):
        read(run, REPORT | {"data_digest": "e" * 64})


def test_a_report_that_is_none_is_named(run: Path) -> None:
    (run / "report.json").write_text("{")
    with pytest.raises(RegistryRequestError, match=r"report\.json cannot be read"):
        read_evidence(*find_bundle(run))
    with pytest.raises(RegistryRequestError, match=r"report\.json is not a JSON object"):
        read(run, [1])


def test_a_folder_without_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(RegistryRequestError, match=r"no bundle\.json in .* `import`"):
        find_bundle(tmp_path)
