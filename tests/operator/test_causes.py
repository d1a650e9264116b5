"""Tests that `wait`, `status` and `train` name the cause, with no right except the deployers' role."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.kuberay.manifests.render import service_documents, training_documents
from cluster.kuberay.settings import read_environment
from tests.operator.ci_rbac import deployers_kubeconfig
from tests.operator.cluster import Cluster

REPORTED_S = 10.0
"""Seconds within which a cause is reported after it occurs in the cluster."""
_SLOW_S = 5.0
"""Additional seconds for a CLI that starts next to Ray pods on two cores."""
TOO_LARGE = {"workers__0__cpus": 900}
"""No worker is scheduled: the tests are about other pods, so no Ray is started needlessly."""
NO_POD = {**TOO_LARGE, "head__cpus": 900}
TRAINING = {"training__version": "'1'", "training__workers__memory_gib": 2}

Document = dict[str, Any]


@pytest.fixture
def deployer(cluster: Cluster, namespace: str, tmp_path: Path) -> Path:
    """Return a kubeconfig of an account that has only the role of cluster/aws/ci-rbac.yaml."""
    return deployers_kubeconfig(cluster, namespace, tmp_path / "deployer")


@pytest.fixture
def apply(cluster: Cluster) -> Callable[..., None]:
    """Return a function that applies an environment with a changed Ray object as an administrator."""

    def applied(
        options: list[str], *, change: Callable[[Document], None] | None = None, only_ray: bool = False
    ) -> None:
        is_training = "--training" in options
        settings = [one for one in options[2:] if one not in ("--set", "--training")]
        environment = read_environment(options[1], settings)
        documents = (training_documents if is_training else service_documents)(environment)
        if change:
            change(documents[-1])
        for document in documents[-1:] if only_ray else documents:
            if document["kind"] != "Gateway":  # its CRD is missing where the test needs it to be
                cluster.client().apply(document)

    return applied


def in_autoscaler(document: Document) -> None:
    """Set a nonexistent version of KubeRay's API, at which the autoscaler reads its own RayCluster."""
    options = document["spec"]["rayClusterConfig"]["autoscalerOptions"]
    options["env"] = [{"name": "KUBERAY_CRD_VER", "value": "v9"}]


def in_head(document: Document) -> None:
    document["spec"]["rayClusterConfig"]["headGroupSpec"]["rayStartParams"]["port"] = "none"


SERVICE_CASES = [
    pytest.param({**NO_POD}, None, True, "ServiceAccount sentiment does not exist", id="no-account"),
    pytest.param(
        {**NO_POD, "upgrade__type": "NewClusterWithIncrementalUpgrade", "upgrade__gateway_class": "istio"},
        None,
        False,
        "needs the Gateway API (gateway.networking.k8s.io/v1), whose CRDs are not installed",
        id="no-gateway-api",
    ),
    pytest.param(
        TOO_LARGE,
        in_autoscaler,
        False,
        "container autoscaler ended with exit code 1; its log ends with: requests.exceptions.HTTPError: 404",
        id="autoscaler-ended",
        marks=pytest.mark.long,
    ),
    pytest.param(
        {"serve__model": "/nowhere/model", "workers__0__max_pods": 1, "serve__max_pods": 1},
        None,
        False,
        "deployment classifier: serve_app.errors.BundleNotFoundError: "
        "the folder /nowhere/model does not exist",
        id="deploy-failed",
    ),
]


@pytest.mark.parametrize(("settings", "change", "only_ray", "says"), SERVICE_CASES)
def test_a_cause_that_waiting_cannot_improve_ends_the_wait(
    settings: dict[str, Any],
    change: Callable[[Document], None] | None,
    only_ray: bool,
    says: str,
    environment: Callable[..., list[str]],
    apply: Callable[..., None],
    deployer: Path,
    cluster: Cluster,
) -> None:
    if "Gateway API" in says and cluster.client().serves("gateway.networking.k8s.io/v1"):
        pytest.skip("the cluster has the Gateway API")
    options = environment(**settings)
    apply(options, change=change, only_ray=only_ray)
    done = cluster.run("wait", *options, "--timeout", "240", timeout_s=270, kubeconfig=deployer)
    assert done.returncode == 1, done.stdout
    assert says in done.stderr.splitlines()[-1]
    assert any(says in line for line in done.stdout.splitlines())
    assert "was not ready in" not in done.stderr and "not allowed" not in done.stdout
    shown = cluster.run("status", *options, kubeconfig=deployer)
    assert shown.returncode == 1 and says in shown.stdout.splitlines()[-1]


def test_a_head_that_ends_is_reported_with_the_line_that_says_why(
    environment: Callable[..., list[str]], apply: Callable[..., None], deployer: Path, cluster: Cluster
) -> None:
    options = environment(**TOO_LARGE)
    apply(options, change=in_head)
    process = cluster.start("wait", *options, "--timeout", "90", kubeconfig=deployer)
    with process:
        _until_line(
            process, "container ray-head ended with exit code 2; its log ends with: Error: Invalid value"
        )
        process.terminate()


@pytest.mark.parametrize("lacking", ["cpu", "nvidia.com/gpu"])
def test_a_pod_without_a_node_is_reported_and_waited_for(
    lacking: str,
    environment: Callable[..., list[str]],
    apply: Callable[..., None],
    deployer: Path,
    cluster: Cluster,
) -> None:
    def ask(document: Document) -> None:
        for group in _groups(document):
            for kind in ("requests", "limits"):
                group["template"]["spec"]["containers"][0]["resources"][kind][lacking] = "900"

    options = environment()
    apply(options, change=ask)
    done = cluster.run("wait", *options, "--timeout", "12", kubeconfig=deployer)
    assert done.returncode == 1 and "was not ready in 12 s" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "cannot be scheduled: 0/" in last and f"Insufficient {lacking}" in last
    assert "waiting does not change this" not in done.stderr


@pytest.mark.parametrize("has_claim", [False, True])
def test_training_ends_without_its_volume(
    has_claim: bool,
    environment: Callable[..., list[str]],
    apply: Callable[..., None],
    deployer: Path,
    cluster: Cluster,
    namespace: str,
) -> None:
    options = environment(**TRAINING)
    if has_claim:
        # With an empty class no provisioner may answer, as on a new EKS cluster without a StorageClass.
        spec = {
            "storageClassName": "",
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        }
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "training"}}
        cluster.kubectl("-n", namespace, "apply", "-f", "-", input=yaml.safe_dump({**claim, "spec": spec}))
    apply([*options, "--training"])
    done = cluster.run("wait", *options, "--training", "--timeout", "90", kubeconfig=deployer)
    says = (
        "claim training: no persistent volumes available for this claim and no storage class is set"
        if has_claim
        else 'persistentvolumeclaim "training" not found'
    )
    assert done.returncode == 1 and says in done.stderr.splitlines()[-1]
    assert "was not ready in" not in done.stderr


def test_a_cause_is_reported_soon_after_the_cluster_has_it(
    environment: Callable[..., list[str]],
    apply: Callable[..., None],
    deployer: Path,
    cluster: Cluster,
    namespace: str,
) -> None:
    options = environment(**NO_POD)
    apply(options)
    process = cluster.start("wait", *options, "--timeout", "120", kubeconfig=deployer)
    with process:
        _until_line(process, "cannot be scheduled")  # the wait is running
        cluster.kubectl("-n", namespace, "delete", "serviceaccount", "sentiment")
        began = time.monotonic()
        _until_line(process, "ServiceAccount sentiment does not exist")
        assert time.monotonic() - began < REPORTED_S + _SLOW_S
        process.terminate()


@pytest.mark.long
def test_wait_returns_with_as_many_pods_as_there_should_be(
    environment: Callable[..., list[str]],
    apply: Callable[..., None],
    deployer: Path,
    cluster: Cluster,
    namespace: str,
) -> None:
    options = environment(
        serve__min_pods=2, serve__max_pods=2, workers__0__min_pods=2, workers__0__max_pods=2
    )
    apply(options)
    done = cluster.run("wait", *options, "--timeout", "240", timeout_s=270, kubeconfig=deployer)
    assert done.returncode == 0, done.stderr
    service = cluster.get("rayservice", "sentiment", "-n", namespace)
    assert service["status"]["numServeEndpoints"] == 2
    assert "2 endpoints" in done.stdout.splitlines()[-1]


def _groups(document: Document) -> list[Document]:
    cluster = document["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def _until_line(process: Any, says: str) -> None:
    lines = []
    for line in process.stdout:
        lines.append(line)
        if says in line:
            return
    raise AssertionError(f"ended with {process.wait()} without {says!r}: {''.join(lines)}")
