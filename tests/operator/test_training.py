"""Tests of `cluster train` with only the deployers' role: failure, restart, joining, and a name conflict.

No part of the environment is applied before: the training creates what it needs.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kuberay.client.resources import RAY_JOB, kind_of
from cluster.kuberay.manifests.render import training_documents
from cluster.kuberay.settings import read_environment
from tests.integration.test_fit import SETTINGS, write_base, write_texts
from tests.operator.ci_rbac import deployers_kubeconfig
from tests.operator.cluster import Cluster

NAME = "sentiment-train"
TRAINED_S = 240
SMALL = {"training__workers__cpus": 1, "training__workers__memory_gib": 2, "training__deadline_s": TRAINED_S}
PENDING = {**SMALL, "head__cpus": 999}


@pytest.fixture
def deployer(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """Return a kubeconfig of an account that has only the role of cluster/aws/ci-rbac.yaml."""
    return deployers_kubeconfig(cluster, namespace, tmp_path / "deployer")


@pytest.fixture
def claim(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Create the environment's claim `training`, with a manually created volume."""
    volume = f"{namespace}-training"
    size = {"storage": "1Gi"}
    modes = {"accessModes": ["ReadWriteOnce"]}
    documents = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {**modes, "capacity": size, "hostPath": {"path": f"/var/lib/{volume}"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "training", "namespace": namespace},
            "spec": {**modes, "volumeName": volume, "storageClassName": "", "resources": {"requests": size}},
        },
    ]
    for document in documents:
        cluster.kubectl("create", "--filename=-", input=json.dumps(document))
    yield
    cluster.kubectl("delete", "persistentvolume", volume, "--wait=false")


@pytest.fixture
def folder(cluster: Cluster) -> Iterator[Path]:
    """Yield a folder for settings, a tiny base model and texts that the pods see; /tmp is each pod's own."""
    if cluster.shared_folder is None and cluster.has_container_runtime():
        pytest.skip("the pods do not see this machine's files")
    found = Path(tempfile.mkdtemp(dir=cluster.shared_folder or "/var/tmp"))
    found.chmod(0o755)
    write_base(found / "base")
    (found / "settings.toml").write_text(SETTINGS.format(base=found / "base"))
    yield found
    shutil.rmtree(found)


def job(cluster: Cluster, namespace: str) -> dict[str, Any] | None:
    found = cluster.client().find(RAY_JOB, namespace)
    return found[0] if found else None


def test_training_ends_and_starting_it_again_joins_it(
    cluster: Cluster,
    namespace: str,
    environment: Callable[..., list[str]],
    start_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
    deployer: Path,
    claim: None,
    folder: Path,
) -> None:
    options = environment(
        **SMALL,
        training__config=str(folder / "settings.toml"),
        training__data=str(folder / "data"),
        training__options="--max-steps 2",
    )

    failed = cluster.run("train", *options, timeout_s=TRAINED_S, kubeconfig=deployer)
    assert failed.returncode == 1, failed.stderr
    first = job(cluster, namespace)
    assert first is not None and first["status"]["jobDeploymentStatus"] == "Failed"

    (folder / "data").mkdir()
    write_texts(folder / "data" / "invented.csv")
    started = start_cluster("train", *options, kubeconfig=deployer)

    def uid_of_another() -> str | None:
        live = job(cluster, namespace)
        return (
            live["metadata"]["uid"] if live and live["metadata"]["uid"] != first["metadata"]["uid"] else None
        )

    second = wait_until(uid_of_another, 60, "the failed job is replaced")
    joined = cluster.run("train", *options, timeout_s=TRAINED_S, kubeconfig=deployer)
    output, _ = started.communicate(timeout=60)
    assert (started.returncode, joined.returncode) == (0, 0), output + joined.stderr
    assert "failed before and is started again" in output and "joined" in joined.stderr

    after = cluster.run("train", *options, kubeconfig=deployer)
    assert after.returncode == 0 and "joined" in after.stderr, after.stderr
    live = job(cluster, namespace)
    assert live is not None and live["metadata"]["uid"] == second
    assert live["status"]["jobStatus"] == "SUCCEEDED"

    other = cluster.run("train", *options, "--set", "training.out=runs/2", kubeconfig=deployer)
    assert other.returncode == 1
    assert "different training (Complete, job succeeded" in other.stderr and "runs/2" in other.stderr


def test_a_training_brings_what_it_needs_and_keeps_its_name(
    cluster: Cluster,
    namespace: str,
    environment: Callable[..., list[str]],
    start_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
    deployer: Path,
) -> None:
    options = environment(**PENDING)
    start_cluster("train", *options, kubeconfig=deployer)
    first = wait_until(lambda: job(cluster, namespace), 60, "the job is there")
    settings = [one for one in options[2:] if one != "--set"]
    for document in training_documents(read_environment("dev", settings)):
        cluster.client().get(kind_of(document), namespace, document["metadata"]["name"])

    other = cluster.run("train", *options, "--set", "training.data=others", kubeconfig=deployer)
    assert other.returncode == 1
    assert "different training" in other.stderr and "/data/others" in other.stderr
    assert "training.version" in other.stderr, "the way on"
    assert f"kubectl --namespace {namespace} delete rayjob {NAME}" in other.stderr

    again = start_cluster("train", *options, kubeconfig=deployer)
    wait_until(lambda: "joined" in again.stdout.readline(), 60, "the second call has joined")
    assert job(cluster, namespace)["metadata"]["uid"] == first["metadata"]["uid"]  # type: ignore[index]
