"""Tests of SageMaker training jobs: folders and variables of the job, and the resulting options of `fit`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from train.cli.sagemaker import run_job
from train.errors import SettingsFileError
from train.sagemaker import Job, fit_options, job_of

OUT = Path("/scratch/run")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create the files that SageMaker mounts for a job with one channel."""
    (tmp_path / "input/config").mkdir(parents=True)
    (tmp_path / "input/data/training").mkdir(parents=True)
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
    (tmp_path / "input/config/resourceconfig.json").write_text(json.dumps(hosts))
    return tmp_path


def job(root: Path, told: dict[str, str] | None = None, **environment: str) -> Job:
    (root / "input/config/hyperparameters.json").write_text(json.dumps(told or {}))
    return job_of(environment, root=root, devices=root)


def further(job: Job) -> list[str]:
    """Return the options after the folders."""
    options = fit_options(job, OUT)
    assert options[:4] == ["--data", str(job.channels["training"]), "--out", str(OUT)]
    return options[4:]


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ({"epochs": "2", "base": "builtin:"}, ["--epochs", "2", "--base", "builtin:"]),
        ({"held-out": "0.2", "seed": "7"}, ["--held-out", "0.2", "--seed", "7"]),
        ({"base": '"builtin:"'}, ["--base", "builtin:"]),
        ({"text_column": "the review"}, ["--text-column", "the review"]),
        ({"label_names": "0=NEGATIVE 1=POSITIVE"}, ["--label-names", "0=NEGATIVE", "1=POSITIVE"]),
        ({"labels": '["A B", "C"]'}, ["--labels", "A B", "C"]),
        ({"set": "lora.rank=4 optimiser.dropout=0"}, ["--set", "lora.rank=4", "optimiser.dropout=0"]),
        ({"gpu": "true"}, ["--gpu"]),
        ({"gpu": "false"}, []),
        ({"sagemaker_region": '"eu-west-1"', "sagemaker_program": "x.py"}, []),
    ],
)
def test_hyperparameters_are_the_options_of_fit(root: Path, told: dict[str, str], options: list[str]) -> None:
    assert further(job(root, told)) == options


def test_a_settings_file_is_one_of_the_channel(root: Path) -> None:
    (root / "input/data/validation").mkdir()
    options = further(job(root, {"config": "fit.toml"}))
    assert options == ["--config", str(root / "input/data/training/fit.toml")], "which says what is held out"


def test_what_the_machine_and_the_job_offer_is_used(root: Path) -> None:
    for gpu in range(4):
        (root / f"nvidia{gpu}").touch()
    (root / "nvidiactl").touch()
    (root / "input/data/validation").mkdir()
    (root / "checkpoints").mkdir()
    assert further(job(root, TRAINING_JOB_NAME="reviews-7")) == [
        *("--workers", "4", "--gpu", "--version", "reviews-7"),
        *("--checkpoints", str(root / "checkpoints"), "--resume"),
        *("--validation", str(root / "input/data/validation")),
    ]


def test_the_toolkits_variables_go_first(root: Path) -> None:
    told = job(
        root,
        {"epochs": "9"},
        SM_HPS='{"epochs": 2, "gpu": true}',
        SM_CHANNEL_TRAINING="/texts",
        SM_NUM_GPUS="0",
        SM_HOSTS='["algo-1"]',
        SM_MODEL_DIR="/kept/model",
        SM_OUTPUT_DATA_DIR="/kept/data",
        SM_OUTPUT_DIR="/kept",
    )
    assert told.channels["training"] == Path("/texts")
    assert further(told) == ["--epochs", "2", "--gpu"]
    assert [told.model, told.output, told.failure] == [
        *(Path("/kept/model"), Path("/kept/data"), Path("/kept/failure")),
    ]


@pytest.mark.parametrize(
    ("told", "environment", "message"),
    [
        ({"epoch_count": "2"}, {}, r"hyperparameters: .*--epoch-count 2; see"),
        ({"epochs": "many"}, {}, r"--epochs: invalid float value: 'many'"),
        ({"out": "s3://elsewhere"}, {}, "'out' is set by the job's channels"),
        ({}, {"SM_HOSTS": '["algo-1", "algo-2"]'}, "2 instances"),
        ({}, {"SM_HPS": "{"}, "not valid JSON"),
    ],
)
def test_what_is_wrong_is_the_failure_reason(
    root: Path, told: dict[str, str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsFileError, match=message) as failure:
        run_job(job(root, told, **environment))
    reason = (root / "output/failure").read_text()
    assert reason == f"SettingsFileError: {failure.value}"
    assert not (root / "model").exists()


def test_a_job_without_texts_says_which_channels_it_has(root: Path) -> None:
    (root / "input/data/training").rename(root / "input/data/reviews")
    with pytest.raises(SettingsFileError, match=r"channels: reviews; expected one of training"):
        run_job(job(root))


def test_a_long_reason_is_cut_to_what_sagemaker_shows(root: Path) -> None:
    job(root).fail("x" * 5000)
    assert (root / "output/failure").read_text() == "x" * 1024
