"""Tests of the pods that always run: which replicas Serve's own scheduler stops with the rendered options."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.config import ReplicaConfig
from ray.serve._private.deployment_scheduler import (
    DeploymentDownscaleRequest,
    DeploymentScheduler,
    SpreadDeploymentSchedulingPolicy,
)

from cluster.kuberay.manifests.render import service_documents
from cluster.kuberay.manifests.serve_config import serve_config
from cluster.kuberay.settings import Environment, read_environment

CLASSIFIER = DeploymentID("classifier", "sentiment")


class Nodes:
    """Ray's nodes and their labels: one for each started pod."""

    def __init__(self, labels: dict[str, dict[str, str]]) -> None:
        self._labels = labels

    def get_active_node_ids(self) -> set[str]:
        return set(self._labels)

    def get_node_labels(self, node_id: str) -> dict[str, str]:
        return self._labels[node_id]


def groups(environment: Environment) -> list[dict[str, Any]]:
    manifest = service_documents(environment)[-1]
    found: list[dict[str, Any]] = manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    return found


def remaining(environment: Environment, oldest_first: list[str], replicas: int) -> list[str]:
    """Return the groups on which replicas remain when Serve reduces them to this number.

    Args:
        environment: Environment whose rendered options are used.
        oldest_first: Group of each running replica, one pod each.
        replicas: Number of replicas that remain.
    """
    labels = {group["groupName"]: group.get("labels", {}) for group in groups(environment)}
    pods = {f"pod-{number}": group for number, group in enumerate(oldest_first)}
    nodes: Any = Nodes({pod: labels[group] for pod, group in pods.items()})
    scheduler = DeploymentScheduler(nodes, "head", lambda *_: None)
    [application] = serve_config(environment)["applications"]
    options = application["deployments"][0].get("ray_actor_options")
    scheduler.on_deployment_created(CLASSIFIER, SpreadDeploymentSchedulingPolicy())
    scheduler.on_deployment_deployed(CLASSIFIER, ReplicaConfig.create(Nodes, ray_actor_options=options))
    for pod in pods:
        scheduler.on_replica_running(ReplicaID(pod, CLASSIFIER), pod)
    request = DeploymentDownscaleRequest(CLASSIFIER, len(pods) - replicas)
    stopped = scheduler.schedule({}, {CLASSIFIER: request})[CLASSIFIER]
    return [group for pod, group in pods.items() if ReplicaID(pod, CLASSIFIER) not in stopped]


@pytest.mark.parametrize(
    "oldest_first",
    [
        ["floor", "floor", "small", "small", "large"],
        ["small", "floor", "large", "floor"],
        ["small", "small", "floor", "floor"],
    ],
)
def test_serve_stops_the_other_replicas_first(oldest_first: list[str]) -> None:
    assert remaining(read_environment("prod"), oldest_first, replicas=2) == ["floor", "floor"]
    assert sorted(remaining(read_environment("prod"), oldest_first, replicas=3))[:2] == ["floor", "floor"]


def test_without_a_floor_serve_stops_the_oldest_replicas() -> None:
    """This is why the floor has a label; if Serve changes it, `ray_actor_options` are not needed."""
    environment = read_environment("prod", ["workers.0.min_pods=0"])
    assert environment.floor == ()
    assert remaining(environment, ["floor", "floor", "small", "small"], replicas=2) == ["small", "small"]


def test_the_floor_runs_on_demand_and_holds_the_fewest_pods() -> None:
    environment = read_environment("prod")
    [floor, *others] = groups(environment)
    required = "requiredDuringSchedulingIgnoredDuringExecution"

    def capacity(group: dict[str, Any]) -> list[str] | None:
        terms = group["template"]["spec"]["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"]
        found = {one["key"]: one["values"] for one in terms[0]["matchExpressions"]}
        return found.get("karpenter.sh/capacity-type")

    assert floor["minReplicas"] == environment.serve.min_pods == 2
    assert capacity(floor) == ["on-demand"]
    assert [group["minReplicas"] for group in others] == [0, 0]
    assert [capacity(group) for group in others] == [None, None], "spot and on demand"


def test_groups_that_all_have_fewest_pods_or_none_have_no_floor() -> None:
    for name, changes in (("dev", []), ("prod", ["workers.0.min_pods=0"])):
        environment = read_environment(name, changes)
        assert all("labels" not in group for group in groups(environment))
        [application] = serve_config(environment)["applications"]
        assert "ray_actor_options" not in application["deployments"][0], "as in the code"
