"""Tests of a training job's command: storage on a claim or on S3, registration, one name per version."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.manifests.render import training_documents
from cluster.kuberay.manifests.training_job import entrypoint, job_name, variables
from cluster.kuberay.settings import TrainingSettings, read_environment

S3 = (
    "training.data=s3://data/texts",
    "training.checkpoints=s3://data/runs/8",
    'training.version="8"',
    "training.name=senti",
    "training.registry=http://mlflow:5000",
    "training.artifacts=s3://models/registry",
)


def training(name: str, changes: Sequence[str] = ()) -> TrainingSettings:
    found = read_environment(name, changes).training
    assert found is not None
    return found


def test_on_a_claim_everything_lies_there() -> None:
    line = entrypoint(training("dev"))
    assert "--data /data/texts --out /data/runs/latest" in line and "&&" not in line
    assert "--resume" not in line and variables(training("dev")) == {}


def test_on_s3_it_goes_on_from_its_checkpoints_and_is_registered() -> None:
    fit, register = entrypoint(training("prod", S3)).split(" && ")
    assert "--data s3://data/texts --out /tmp/runs/latest --name senti --resume --version 8" in fit
    assert "--checkpoints s3://data/runs/8" in fit and fit.endswith("--workers 1 --gpu")
    assert register == "python -m train register /tmp/runs/latest"


def test_with_a_log_the_champion_is_retrained_on_its_feedback() -> None:
    log = ("training.log=s3://data/captured", "training.options='--hours 48 --bounds strict.toml'")
    line = entrypoint(training("prod", [*S3, *log]))
    assert line == (
        "python -m train retrain senti --log s3://data/captured --work /tmp/runs/latest "
        "--texts s3://data/texts/feedback --version 8 --checkpoints s3://data/runs/8 "
        "--workers 1 --gpu --hours 48 --bounds strict.toml"
    )
    with pytest.raises(EnvironmentSettingsError, match="name, version and registry are required"):
        training("prod", log)


def test_head_and_workers_find_the_registry_and_no_claim() -> None:
    *_, job = training_documents(read_environment("prod", S3))
    cluster = job["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        told = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert told["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
        assert told["SENTIMENT_REGISTRY_ARTIFACTS"] == "s3://models/registry"
        assert "data" not in [volume["name"] for volume in pod["volumes"]]


def test_the_same_version_is_the_same_job() -> None:
    one, other = training("prod", S3), training("prod", [*S3, 'training.version="9"'])
    assert job_name("sentiment", one) == job_name("sentiment", training("prod", S3))
    assert job_name("sentiment", one) != job_name("sentiment", other)
    assert len(job_name("sentiment", training("prod", [*S3, f'training.version="run-{"a" * 36}"']))) <= 47


def test_without_a_claim_there_must_be_checkpoints() -> None:
    with pytest.raises(EnvironmentSettingsError, match="checkpoints is required"):
        read_environment("prod", ['training.checkpoints=""'])
