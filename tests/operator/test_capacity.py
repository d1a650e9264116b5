"""Tests of the number of pods when a model cannot load, a head is lost, or an instance type is sold out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from cluster.kuberay.client.resources import POD, RAY_SERVICE
from tests.operator.cluster import Cluster
from tests.operator.traffic import Traffic, ready_endpoints

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
STARTED_S = 240
"""Seconds for a cluster to start on two cores that other processes use, too."""
HEAD_BACK_S = 30
LOAD_PER_S = 8
"""Requests per second that two cores can answer while they start pods."""
Run = Callable[..., Any]
Options = Callable[..., list[str]]


def pods(cluster: Cluster, namespace: str, role: str) -> list[dict[str, Any]]:
    """Return the pods of a role, `head` or `worker`, that are not ending."""
    found = cluster.client().find(POD, namespace, f"ray.io/node-type={role}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def names(found: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["name"] for pod in found}


def are_ready(found: list[dict[str, Any]]) -> bool:
    return all(
        any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
        for pod in found
    )


def application(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """Return the last status of the application that the operator received from Serve."""
    status = cluster.client().get(RAY_SERVICE, namespace, "sentiment").get("status") or {}
    heard: dict[str, Any] = {}
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        heard |= (status.get(part) or {}).get("applicationStatuses") or {}
    return heard.get("sentiment", {})


@pytest.mark.long
def test_a_model_that_cannot_load_asks_for_no_more_pods_than_a_rollout_does(
    cluster: Cluster, namespace: str, environment: Options, run_cluster: Run, wait_until: Run
) -> None:
    options = environment(
        serve__model="/nowhere", serve__min_pods=2, serve__max_pods=6, workers__0__max_pods=6
    )
    assert run_cluster("apply", *options).returncode == 0
    seen: set[str] = set()

    def has_failed() -> bool:
        seen.update(names(pods(cluster, namespace, "worker")))
        return application(cluster, namespace).get("status") == "DEPLOY_FAILED"

    wait_until(has_failed, STARTED_S, "Serve gives the deployment up")
    assert len(seen) <= 2 + 1, f"min_pods and one of surge, not {sorted(seen)}"
    [deployment] = application(cluster, namespace)["serveDeploymentStatuses"].values()
    assert "/nowhere" in deployment["message"], "the cause reaches the status"


def test_a_lost_head_is_back_within_30_s_and_no_worker_is_replaced(
    cluster: Cluster, namespace: str, environment: Options, run_cluster: Run, wait_until: Run
) -> None:
    cluster.kubectl("apply", "--namespace", namespace, "--filename", "-", input=_redis())
    options = environment(redis__address="redis:6379", redis__secret="redis-password")
    assert run_cluster("apply", *options).returncode == 0
    wait_until(
        lambda: (
            application(cluster, namespace).get("status") == "RUNNING"
            and are_ready(pods(cluster, namespace, "worker"))
        ),
        STARTED_S,
        "the service runs",
    )
    [lost], workers = names(pods(cluster, namespace, "head")), names(pods(cluster, namespace, "worker"))
    cluster.kubectl("--namespace", namespace, "delete", "pod", lost, "--wait=false")

    def is_back() -> bool:
        heads = pods(cluster, namespace, "head")
        return len(heads) == 1 and lost not in names(heads) and are_ready(heads)

    wait_until(is_back, HEAD_BACK_S, "another head is ready")
    assert names(pods(cluster, namespace, "worker")) == workers


def test_a_sold_out_instance_type_is_replaced_by_another(
    cluster: Cluster, namespace: str, environment: Options, run_cluster: Run, wait_until: Run
) -> None:
    both = ["g5.12xlarge", "g5.4xlarge"]
    options = environment(
        workers=_toml_groups({"name": "gpu", "instance_type": both, "max_pods": 2}),
        nodes__eks_cluster="none",
        nodes__role="none",
        nodes__ami="bottlerocket@latest",
        environment__SENTIMENT_DEVICE="cpu",
        environment__SENTIMENT_REPLICA_CPUS='"1"',
    )
    cluster.kubectl("--namespace", namespace, "create", "serviceaccount", "sentiment")
    with sold_out(cluster, both[0], other=both[1]):
        assert run_cluster("apply", *options, "--ray-only").returncode == 0

        def where() -> list[str]:
            return [pod["spec"].get("nodeName", "") for pod in pods(cluster, namespace, "worker")]

        [node] = wait_until(lambda: [name for name in where() if name], 120, "the worker has a node")
        assert cluster.get("node", node)["metadata"]["labels"][INSTANCE_TYPE] == both[1]


@pytest.mark.long
def test_an_upgrade_under_load_starts_with_as_many_pods_as_there_are(
    cluster: Cluster, namespace: str, environment: Options, run_cluster: Run, wait_until: Run
) -> None:
    """Upgrade from CPU pods to a GPU instance: two clusters of four pods do not fit on the CPU nodes."""
    kind = "g5.12xlarge"
    if not cluster.get("nodes", "--selector", f"{INSTANCE_TYPE}={kind}")["items"]:
        pytest.skip(f"needs a node of {kind}")
    shared = {
        "serve__max_pods": 4,
        "serve__scaling__requests_per_minute": 60 * LOAD_PER_S / 4,
        "environment__SENTIMENT_DEVICE": "cpu",
        "environment__SENTIMENT_REPLICA_CPUS": '"1"',
        # Two clusters share two cores: meanwhile requests wait, and none is refused for it.
        "environment__SENTIMENT_MAX_QUEUE_WAIT_S": "'10'",
    }
    group = _toml_groups({"name": "gpu", "instance_type": kind, "max_pods": 4})
    nodes = {"nodes__eks_cluster": "none", "nodes__role": "none", "nodes__ami": "bottlerocket@latest"}
    service = "sentiment"

    def apply(*arguments: str, **settings: object) -> None:
        done = run_cluster("apply", *environment(**shared, **settings), *arguments)
        assert done.returncode == 0, done.stderr

    apply(serve__min_pods=4)
    waited = run_cluster("wait", *environment(**shared, serve__min_pods=4), timeout_s=STARTED_S)
    assert waited.returncode == 0, waited.stdout + waited.stderr
    old = ready_endpoints(cluster, namespace, service)
    assert len(old) == 4
    # In place: four pods stay, since the load of the last ten minutes counts.
    apply("--ray-only", serve__min_pods=1)
    with Traffic(cluster, namespace, service, LOAD_PER_S) as traffic:
        apply("--ray-only", serve__min_pods=1, workers=group, **nodes)
        wait_until(
            lambda: not set(old) & set(traffic.endpoints[-1][1]), STARTED_S, "the new cluster serves alone"
        )
    sizes = [len(found) for _, found in traffic.endpoints]
    assert min(sizes) >= 4, sizes
    assert not traffic.failed, traffic.failed[:10]


@contextmanager
def sold_out(cluster: Cluster, instance_type: str, other: str) -> Iterator[None]:
    """Prevent scheduling on nodes of the type; skip if there is no node of either type."""
    nodes = cluster.get("nodes", "--selector", f"{INSTANCE_TYPE}={instance_type}")["items"]
    if not nodes or not cluster.get("nodes", "--selector", f"{INSTANCE_TYPE}={other}")["items"]:
        pytest.skip(f"needs nodes of {instance_type} and {other}")
    chosen = [node["metadata"]["name"] for node in nodes if not node["spec"].get("unschedulable")]
    cluster.kubectl("cordon", *chosen)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", *chosen)


def _toml_groups(*groups: dict[str, Any]) -> str:
    """Return worker groups as an inline TOML value."""
    return str([_Inline(group) for group in groups])


class _Inline(dict[str, Any]):
    def __repr__(self) -> str:
        return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in self.items()) + "}"


def _redis() -> str:
    """Return a Redis without persistent storage, with its Service and password."""
    about = {"name": "redis", "labels": {"app": "redis"}}
    secret = {"name": "redis-password"}
    command = ["sh", "-c", 'exec redis-server --requirepass "$PASSWORD"']
    variable = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {**secret, "key": "password"}}}
    container = {
        "name": "redis",
        "image": "redis:7.4-alpine",
        "command": command,
        "env": [variable],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
    }
    documents = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": secret,
            "stringData": {"password": "of-this-test"},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": [container]}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "redis"},
            "spec": {"clusterIP": "None", "selector": {"app": "redis"}, "ports": [{"port": 6379}]},
        },
    ]
    return yaml.safe_dump_all(documents)
