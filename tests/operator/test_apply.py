"""Tests of apply on a real API server and operator: live objects equal the rendered ones, with their owner.

The pods never start: the head requests more CPUs than any node has.
"""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from cluster.aws.addons import storage_class
from cluster.kuberay.client.client import FIELD_MANAGER
from cluster.kuberay.client.resources import RAY_JOB, RAY_SERVICE, ResourceKind
from cluster.kuberay.manifests.render import service_documents, training_documents
from cluster.kuberay.settings import read_environment
from tests.operator.cluster import Cluster
from tests.operator.namespaces import remove_namespace

UNSCHEDULABLE = 999
NAMES = {RAY_SERVICE: "sentiment", RAY_JOB: "sentiment-train"}
CLUSTER_FIELD = {RAY_SERVICE: "rayClusterConfig", RAY_JOB: "rayClusterSpec"}
PROD = (
    "nodes.eks_cluster=none",
    "training.data=s3://bucket/texts",
    "training.checkpoints=s3://bucket/runs",
    "upgrade.type=NewCluster",  # the other needs the Gateway API's CRDs before the operator does anything
)
ODD = ("environment.EMPTY=", "training.keep_s=0", "head.memory_gib=2048", "api_keys_secret=keys")
"""Values that Go's types would serialize differently."""


def options(namespace: str, name: str, *changes: str) -> list[str]:
    pairs = [
        f"namespace={namespace}",
        f"head.cpus={UNSCHEDULABLE}",
        *(PROD if name == "prod" else ()),
        *changes,
    ]
    return ["--env", name, *(part for pair in pairs for part in ("--set", pair))]


def reconciled(
    cluster: Cluster, kind: ResourceKind, namespace: str, wait_until: Callable[..., Any]
) -> dict[str, Any]:
    """Return the Ray object after the operator has added its finalizer and written its status."""

    def seen() -> dict[str, Any] | None:
        live = cluster.client().get(kind, namespace, NAMES[kind])
        return live if live["metadata"].get("finalizers") and live.get("status") else None

    live: dict[str, Any] = wait_until(seen, 30, f"the operator has seen {kind.name} {NAMES[kind]}")
    return live


def as_rendered_before(document: dict[str, Any], kind: ResourceKind) -> dict[str, Any]:
    """Return the document with the output of an older version and the changes of the operator's Update."""
    older = copy.deepcopy(document)
    for group in older["spec"][CLUSTER_FIELD[kind]]["workerGroupSpecs"]:
        del group["scaleStrategy"]
    return older


def image_of(live: dict[str, Any], kind: ResourceKind) -> str:
    [group] = live["spec"][CLUSTER_FIELD[kind]]["workerGroupSpecs"]
    image: str = group["template"]["spec"]["containers"][0]["image"]
    return image


@pytest.mark.parametrize(("name", "changes"), [("dev", ODD), ("prod", ())], ids=["dev, odd values", "prod"])
@pytest.mark.parametrize("kind", [RAY_SERVICE, RAY_JOB], ids=["service", "training"])
def test_a_second_apply_changes_nothing(
    cluster: Cluster,
    namespace: str,
    run_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
    request: pytest.FixtureRequest,
    kind: ResourceKind,
    name: str,
    changes: tuple[str, ...],
) -> None:
    if name == "prod" and "nodepools.karpenter.sh" not in cluster.kubectl("get", "crd", "--output=name"):
        pytest.skip("the cluster has no Karpenter CRDs")
    given = [*options(namespace, name, *changes), *(["--training"] if kind == RAY_JOB else [])]
    if name == "prod":
        disk = read_environment("prod").redis
        assert disk and disk.storage_class
        cluster.kubectl("apply", "--filename=-", input=json.dumps(storage_class(disk.storage_class)))
    request.addfinalizer(lambda: _remove_nodes(cluster, namespace, name))

    first = run_cluster("apply", *given)
    assert first.returncode == 0, first.stderr
    reconciled(cluster, kind, namespace, wait_until)

    difference = run_cluster("diff", *given)
    assert (difference.returncode, difference.stdout) == (0, ""), difference.stderr
    second = run_cluster("apply", *given)
    assert second.returncode == 0, second.stderr
    owners = {
        entry["manager"]
        for entry in cluster.client().get(kind, namespace, NAMES[kind])["metadata"]["managedFields"]
        if "f:spec" in entry["fieldsV1"]
    }
    assert owners == {FIELD_MANAGER}, "the operator's own Update must change nothing of the spec"


@pytest.mark.parametrize("kind", [RAY_SERVICE, RAY_JOB], ids=["service", "training"])
def test_what_only_the_operators_serialisation_owns_is_taken_over(
    cluster: Cluster,
    namespace: str,
    run_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
    kind: ResourceKind,
) -> None:
    _apply_older(cluster, namespace, kind)
    owners = {
        entry["manager"]
        for entry in reconciled(cluster, kind, namespace, wait_until)["metadata"]["managedFields"]
        if "f:spec" in entry["fieldsV1"]
    }
    assert len(owners) == 2, "the operator's Update has changed the worker groups and so owns them"

    newer = ["--set", "image=other:2", "--set", "training.image=other:2"]
    training = ["--training"] if kind == RAY_JOB else []
    done = run_cluster("apply", *options(namespace, "dev"), *newer, *training)
    assert done.returncode == 0, done.stderr
    assert image_of(cluster.client().get(kind, namespace, NAMES[kind]), kind) == "other:2"


@pytest.mark.parametrize("older", [True, False], ids=["operator owned it", "apply owned it"])
def test_what_somebody_else_changed_is_a_conflict_and_stays(
    cluster: Cluster,
    namespace: str,
    run_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
    older: bool,
) -> None:
    given = options(namespace, "dev")
    if older:
        _apply_older(cluster, namespace, RAY_SERVICE)
    else:
        assert run_cluster("apply", *given).returncode == 0
    reconciled(cluster, RAY_SERVICE, namespace, wait_until)
    path = "/spec/rayClusterConfig/workerGroupSpecs/0/template/spec/containers/0/image"
    patch = json.dumps([{"op": "replace", "path": path, "value": "theirs:1"}])
    cluster.kubectl(
        "--namespace", namespace, "patch", "rayservice", "sentiment", "--type=json", "--patch", patch
    )

    refused = run_cluster("apply", *given, "--set", "image=ours:2")
    assert refused.returncode == 1
    assert "workerGroupSpecs" in refused.stderr and "kubectl-patch" in refused.stderr
    assert "--force" in refused.stderr
    assert image_of(cluster.client().get(RAY_SERVICE, namespace, "sentiment"), RAY_SERVICE) == "theirs:1"

    taken = run_cluster("apply", *given, "--set", "image=ours:2", "--force")
    assert taken.returncode == 0, taken.stderr
    assert image_of(cluster.client().get(RAY_SERVICE, namespace, "sentiment"), RAY_SERVICE) == "ours:2"


def _apply_older(cluster: Cluster, namespace: str, kind: ResourceKind) -> None:
    environment = read_environment("dev", [f"namespace={namespace}", f"head.cpus={UNSCHEDULABLE}"])
    documents = service_documents(environment) if kind == RAY_SERVICE else training_documents(environment)
    cluster.client().apply(as_rendered_before(documents[-1], kind))


def _remove_nodes(cluster: Cluster, namespace: str, name: str) -> None:
    """Delete objects outside the namespace."""
    if name == "prod":
        for kind in ("nodepools.karpenter.sh", "ec2nodeclasses.karpenter.k8s.aws"):
            cluster.kubectl("delete", kind, f"{namespace}-gpu", "--ignore-not-found", "--wait=false")


def test_a_missing_namespace_is_named_and_made_on_request(
    cluster: Cluster, run_cluster: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    namespace = f"apply-made-{secrets.token_hex(3)}"
    request.addfinalizer(lambda: remove_namespace(cluster, namespace))
    given = options(namespace, "dev")

    refused = run_cluster("apply", *given)
    assert refused.returncode == 1
    assert f"the namespace {namespace} does not exist" in refused.stderr
    assert "--create-namespace" in refused.stderr

    for _ in range(2):
        made = run_cluster("apply", *given, "--create-namespace")
        assert made.returncode == 0, made.stderr
    assert cluster.client().get(RAY_SERVICE, namespace, "sentiment")
