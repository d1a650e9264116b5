"""Tests of the pipelines on this machine: each buildspec's commands, from a commit to a promoted version.

S3, SNS and the registry's artifacts are moto's; Ray, training, the gate, the pods and the load are real. The
model is a tiny BERT of random weights, which learns two kinds of letters. Two commands run with less than in
CodeBuild: `make test` with one test file (this one runs inside `make test`), and `make images` with a
`docker` and an `aws` that only record their arguments, since there is no Docker daemon and no image registry
here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from cluster.aws.functions import rollout_watcher
from cluster.rollout.journal.base import open_journal
from cluster.rollout.state import RolloutState
from cluster.rollout.targets.base import TrafficSplit
from cluster.rollout.targets.serve_api import ServeTarget
from serve_app.dev_server.launcher import Plan, free_port, serving
from serve_app.model.bundle import read_manifest, rewrite_manifest, write_manifest
from serve_app.prediction_log.stores import open_store
from tests import aws_events as events
from tests.buildspecs import ROOT, Build, commands, run
from tests.integration.aws import aws
from tests.integration.models import save
from tests.integration.solved import LABELS, invented, write_csv
from tests.unit.train.prediction_log.logs import write_unsure
from train.evaluation.thresholds import DEFAULT as GATE
from train.registry import Registry, open_registry
from train.retraining.config import DEFAULT as RETRAIN
from train.retraining.replay import champion_run

pytestmark = pytest.mark.serve
NEW = ("fgh", "opq")
"""Letters that mean nothing in the first texts, and determine the label in the later requests."""
RUN, NEXT = f"run-{uuid.uuid4()}", f"run-{uuid.uuid4()}"
"""Run of the commit, and of the retraining after it."""
COMMIT = subprocess.run(
    ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.strip()
QUESTION = [text for text, _ in invented(8, seed=3)]
ENVIRONMENT = """
image = "sentiment-service:0.1.0-cpu"
auth = "disabled"
[serve]
model = "builtin:"
[[workers]]
name = "cpu"
cpus = 1
memory_gib = 2
max_pods = 1
[training]
image = "sentiment-service:0.1.0-train"
checkpoints = "s3://data/runs/latest"
deadline_s = 240
[training.workers]
name = "cpu"
cpus = 1
memory_gib = 2
max_pods = 1
"""
CONFIG = """
name = "sentiment"
version = "0"
base = "registry:sentiment@champion"
method = "full"
labels = ["bad", "good"]
max_length = 32
[optimiser]
batch_texts = 32
learning_rate = 3e-3
dropout = 0.0
average_decay = 0.9
precision = "float32"
[progress]
evaluations = 1
[[data]]
name = "letters"
file = "letters.csv"
held_out = 0.2
passes = 8.0
[[test]]
name = "fresh"
file = "fresh.csv"
"""
PLAN = """
stages = [{ pods = 1 }]
window_s = 5
settle_s = 5
min_requests = 30
min_windows = 2
max_stage_s = 150
apply_timeout_s = 120
[tolerances]
latency_factor = 20
label_share = 0.99  # the champion has learned nothing
score_share = 0.99
"""
# Unlike in train/gate.toml: the speed of models this small is noise, and so is some of the calibration.
GATE_BOUNDS = {
    "min_ratio = 0.8": "min_ratio = 0.1",
    "max_error = 0.10": "max_error = 0.20",
    "max_rise = 0.02": "max_rise = 0.1",
}
# Unlike in train/retrain.toml: these models learn faster and forget less.
RETRAIN_BOUNDS = {
    "passes = 3.0": "passes = 8.0",
    "full_learning_rate = 2e-5": "full_learning_rate = 3e-3",
}


@dataclass
class Site:
    """Stand-ins of the account, and the variables that CodeBuild would set."""

    plan: Plan
    environment: dict[str, str]
    registry: Registry
    topic: str
    answers: list[int] = field(default_factory=list)

    def run(self, name: str, **more: str) -> Build:
        return run(name, {**self.environment, **more})

    def served(self) -> TrafficSplit:
        with httpx.Client(timeout=60) as client:
            return ServeTarget(self.plan.dashboard, client=client).read().split

    def champion(self) -> str:
        return self.registry.get("sentiment@champion").version


def ignorant(folder: Path) -> Path:
    """Create the first champion: a bundle of random weights."""
    save(folder, "bert", num_labels=2, id2label=dict(enumerate(LABELS)), hidden_size=64)
    # Its scores are as confident as a trained model's, so only the labels change in this rollout.
    write_manifest(folder, name="sentiment", version="1", labels=LABELS, temperature=0.01)
    return folder


def changed(path: Path, bounds: Mapping[str, str]) -> str:
    """Return a file of the project with changed bounds."""
    text = path.read_text()
    for bound, other in bounds.items():
        assert bound in text
        text = text.replace(bound, other)
    return text


def recorder(folder: Path, name: str) -> None:
    """Create a command that records its arguments, and prints a word."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/told\necho word\n')
    path.chmod(0o755)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch, aws() as account:
        account.point_at(patch)
        registry_uri, artifacts = f"sqlite:///{folder}/registry.db", "s3://models/registry"
        patch.setenv("MLFLOW_TRACKING_URI", registry_uri)
        patch.setenv("SENTIMENT_REGISTRY_ARTIFACTS", artifacts)
        patch.setenv("SENTIMENT_CACHE_DIR", str(folder / "cache"))
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        s3 = boto3.session.Session().client("s3")
        for bucket in ("data", "models"):
            s3.create_bucket(Bucket=bucket)
        for name, count, seed in (("letters", 600, 1), ("fresh", 420, 2)):
            write_csv(folder / f"{name}.csv", invented(count, seed))
            s3.upload_file(str(folder / f"{name}.csv"), "data", f"texts/{name}.csv")
        for name, text in (("cluster.toml", ENVIRONMENT), ("fit.toml", CONFIG), ("plan.toml", PLAN)):
            (folder / name).write_text(text)
        (folder / "retrain.toml").write_text(changed(RETRAIN, RETRAIN_BOUNDS))
        (folder / "gate.toml").write_text(changed(GATE, GATE_BOUNDS))
        topic = boto3.session.Session().client("sns").create_topic(Name="people")["TopicArn"]
        registry = open_registry(registry_uri, artifacts)
        first = registry.register(ignorant(folder / "sentiment"))
        registry.set_alias("sentiment", "champion", "1")
        plan = Plan(
            model=first.uri,
            port=free_port(),
            dashboard_port=free_port(),
            replicas=2,
            cpus=4,  # two for the pods, and room for a training worker
            environment={
                "SENTIMENT_REPLICA_CPUS": "1",
                "RAY_metrics_report_interval_ms": "1000",
            },
        )
        with serving(plan, print):
            environment = {
                **os.environ,
                "SERVICE": "sentiment",
                "DATA_BUCKET": "data",
                "MODELS_BUCKET": "models",
                "PIPELINE_EXECUTION": RUN.removeprefix("run-"),
                "COMMIT": COMMIT,
                "DASHBOARD": plan.dashboard,
                "ENVIRONMENT": str(folder / "cluster.toml"),
                "TRAIN_CONFIG": str(folder / "fit.toml"),
                "GATE_ARGS": f"--thresholds {folder / 'gate.toml'}",
                "RETRAIN_ARGS": f"--bounds {folder / 'retrain.toml'} --gate {folder / 'gate.toml'}",
                "ROLLOUT_PLACE": f"--dashboard {plan.dashboard} --metrics {plan.metrics}",
                "ROLLOUT_ARGS": f"--plan {folder / 'plan.toml'}",
            }
            yield Site(plan, environment, registry, topic)
        for name in (RUN, NEXT):
            shutil.rmtree(Path("/tmp/runs") / name, ignore_errors=True)


@pytest.fixture
def users(site: Site) -> Iterator[list[int]]:
    """Run clients that send requests all the time; yield the status of every answer."""
    over, answers = threading.Event(), []

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.wait(0.1):
                answers.append(
                    client.post(f"{site.plan.url}/v1/classify", json={"inputs": QUESTION}).status_code
                )

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield answers
    over.set()
    for thread in threads:
        thread.join()


def test_a_commit_is_tested() -> None:
    assert commands("test")[-1] == "make test"
    less = {"make test": "make test PYTEST_ARGS=tests/unit/test_architecture.py"}
    tested = run("test", os.environ, instead=less)
    assert tested.code == 0, tested.said


def test_its_images_are_built_and_pushed(tmp_path: Path) -> None:
    for name in ("docker", "aws"):
        recorder(tmp_path, name)
    # No image exists yet: `docker manifest inspect` fails.
    (tmp_path / "docker").rename(tmp_path / "recorded-docker")
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" != manifest ] && exec {tmp_path}/recorded-docker "$@"\n')
    docker.chmod(0o755)
    repository = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sentiment"
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert run("image", {**os.environ, "PATH": path, "IMAGE": repository, "COMMIT": COMMIT}).code == 0
    told = (tmp_path / "told").read_text().splitlines()
    login, *steps = [line for line in told if line.startswith("docker")]
    assert login.endswith("--password-stdin 123456789012.dkr.ecr.us-east-1.amazonaws.com")
    dockerfile = (ROOT / "cluster" / "Dockerfile").read_text()
    for target, build, push in zip(("cpu", "cuda", "train"), steps[::2], steps[1::2], strict=True):
        assert f" AS {target}\n" in dockerfile
        assert f"--target {target} --tag {repository}:{COMMIT}-{target} " in build
        assert push == f"docker push {repository}:{COMMIT}-{target}"


def test_a_version_is_trained_on_the_cluster_and_registered_once(site: Site) -> None:
    trained = site.run("train")
    assert trained.code == 0, trained.said
    version = site.registry.get(f"sentiment/{RUN}")
    assert (version.code_commit or "").startswith(COMMIT) and version.uri.startswith("s3://models/registry/")
    assert str(version.parent) == "sentiment/1"
    again = site.run("train")
    assert again.code == 0 and "is registered already" in again.said
    assert site.champion() == "1", "what is registered is not live yet"


def test_it_waits_on_one_pod_for_approval_and_then_goes_to_all(site: Site, users: list[int]) -> None:
    version = site.registry.get(f"sentiment/{RUN}")
    held = site.run("deploy", HOLD="true")
    assert held.code == 0, held.said
    assert "PASSED" in held.said and "held: " in held.said
    assert site.served().canary == version.uri and site.champion() == "1"
    approved = site.run("deploy", ROLLOUT_VERB="promote")
    assert approved.code == 0, approved.said
    assert site.served() == TrafficSplit(version.uri) and site.champion() == RUN
    assert len(users) > 60 and set(users) == {200}


def test_what_comes_in_is_held_against_the_champion(site: Site, tmp_path: Path) -> None:
    said = invented(600, seed=5, kinds=NEW)
    write_unsure(
        open_store("s3://data/captured"),
        [text for text, _ in said],
        [LABELS[label] for _, label in said],
        model=("sentiment", site.champion()),
        labels=LABELS,
        until=datetime.now(UTC),
    )
    aws_cli = tmp_path / "aws"  # a substitute for `aws s3 cp FILE s3://BUCKET/KEY` in `make drift`
    aws_cli.write_text(
        f"#!{sys.executable}\nimport sys, boto3\nbucket, _, key = sys.argv[4][5:].partition('/')\n"
        "boto3.session.Session().client('s3').upload_file(sys.argv[3], bucket, key)\n"
    )
    aws_cli.chmod(0o755)
    looked = site.run("drift", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert looked.code == 0, looked.said
    s3 = boto3.session.Session().client("s3")
    verdict = json.loads(s3.get_object(Bucket="data", Key="drift/latest/verdict.json")["Body"].read())
    assert verdict["verdict"] == "retrain" and verdict["rows"] == len({text for text, _ in said})
    assert "s3://data/drift/latest/report.html" in looked.said


def test_what_people_said_makes_the_next_version(site: Site) -> None:
    champion = site.champion()
    retrained = site.run("retrain", PIPELINE_EXECUTION=NEXT.removeprefix("run-"))
    assert retrained.code == 0, retrained.said
    version = site.registry.get(f"sentiment/{NEXT}")
    assert str(version.parent) == f"sentiment/{champion}" and site.champion() == champion
    # The next retraining trains on these texts again, on any machine.
    kept = boto3.session.Session().client("s3").list_objects_v2(Bucket="data", Prefix="texts/feedback/")
    assert [found["Key"] for found in kept["Contents"]] == [f"texts/feedback/{NEXT}/feedback.parquet"]
    settings, _ = champion_run(site.registry, version)
    assert {of_set.name: of_set.file for of_set in settings.data} == {
        f"feedback-{NEXT}": f"s3://data/texts/feedback/{NEXT}/feedback.parquet",
        "letters": "s3://data/texts/letters.csv",
    }


def test_a_version_that_the_gate_refuses_reaches_no_pod(site: Site, tmp_path: Path) -> None:
    served, champion = site.served(), site.champion()
    before = open_journal("s3://data/rollout").entries()
    site.registry.export("sentiment@champion", tmp_path / "bad")
    manifest = read_manifest(tmp_path / "bad")
    rewrite_manifest(tmp_path / "bad", manifest, version="bad", labels=manifest.labels[::-1])
    site.registry.register(tmp_path / "bad")
    refused = site.run("deploy", MODEL="sentiment", VERSION="bad")
    assert refused.code != 0 and refused.failed == "make rollout-$ROLLOUT_VERB", refused.said
    assert "REFUSED" in refused.said and "rollout start" not in refused.said
    assert open_journal("s3://data/rollout").entries() == before
    assert (site.served(), site.champion()) == (served, champion)


def test_people_are_told_of_the_rollout_in_words(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal("s3://data/rollout")
    assert journal.rollout().state is RolloutState.PROMOTED
    monkeypatch.setenv("TOPIC_ARN", site.topic)
    monkeypatch.setenv("MARKS_BUCKET", "data")

    class Invocation:
        aws_request_id = "1"

        def get_remaining_time_in_millis(self) -> int:
            return 30_000

    found: list[Any] = (
        boto3.session.Session().client("s3").list_objects_v2(Bucket="data", Prefix="rollout/")["Contents"]
    )
    told = [
        rollout_watcher.handler(events.object_created("data", item["Key"]), Invocation())["told"]
        for item in found
    ]
    assert [line.partition(": rollout 1: ")[2] for line in told if line] == [
        "the canary has started",
        "the canary has passed and waits for approval",
        "the canary is moving to all pods",
        "the canary is live on all pods",
    ]
