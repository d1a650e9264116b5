"""With how many pods a new cluster starts: as many as the one that it replaces has, not the fewest.

The operator moves the traffic to a new cluster when Serve has started the deployment's first number of
replicas: `initial_replicas`, or without it `min_replicas`. Serve sets that number again at each later change
of the deployment, whatever the load is by then. So it is in serveConfigV2 from the apply that makes a new
cluster to the next change of anything else in it.

An upgrade through a Gateway has no such number: its pods follow the traffic that moves, and KubeRay leaves
Serve's `target_capacity` at 100 after it, which makes `initial_replicas` the minimum for good.
"""

from typing import Any

import yaml

from cluster.kuberay.client import Document, KubeRay
from cluster.kuberay.kinds import RAY_SERVICE, kind_of
from cluster.kuberay.serve_config import INITIAL, deployments, without_initial
from cluster.kuberay.serve_owner import ROLLOUT_MANAGER, SERVE_CONFIG, holders

_AS_IT_GOES = ("replicas", "minReplicas", "maxReplicas", "scaleStrategy")
"""Of a worker group: what the operator changes in the cluster that there is."""


def starting_as_large(client: KubeRay, document: Document, *, keep_models: bool = True) -> Document:
    """A service's manifest with the number of pods that a new cluster starts with, where it makes one.

    A manifest that changes nothing keeps the number that is there.

    Args:
        client: of the cluster.
        document: a manifest of any kind; only a RayService is changed.
        keep_models: whether the apply keeps the models of a rollout, so that the manifest's do not count.

    Raises:
        KubeError: see `cluster.errors`.
    """
    if kind_of(document) != RAY_SERVICE or document["spec"]["upgradeStrategy"]["type"] != "NewCluster":
        return document
    metadata = document["metadata"]
    live = client.get_or_none(RAY_SERVICE, metadata["namespace"], metadata["name"])
    if live is None:
        return document
    wish = yaml.safe_load(document["spec"][SERVE_CONFIG])
    there = yaml.safe_load(live["spec"].get(SERVE_CONFIG) or "{}")
    after = client.apply(document, force=True, dry_run=True)
    if _hashed(after) != _hashed(live):
        _start_with(wish, (live.get("status") or {}).get("numServeEndpoints", 0))
    elif _settings(wish, live, keep_models) == _settings(there, live, keep_models):
        _keep(wish, there)
    return {**document, "spec": {**document["spec"], SERVE_CONFIG: yaml.safe_dump(wish, sort_keys=False)}}


def _hashed(service: Document) -> dict[str, Any]:
    """What of the Ray cluster the operator makes a new cluster for; it takes a hash of it."""
    cluster = service["spec"]["rayClusterConfig"]
    groups = [
        {key: value for key, value in group.items() if key not in _AS_IT_GOES}
        for group in cluster["workerGroupSpecs"]
    ]
    return {**cluster, "workerGroupSpecs": groups}


def _settings(config: dict[str, Any], live: Document, keep_models: bool) -> dict[str, Any]:
    """A copy without the initial numbers, and without the models that a rollout has the say over."""
    copy: dict[str, Any] = without_initial(config)
    if keep_models and ROLLOUT_MANAGER in holders(live):
        for _, deployment in deployments(copy):
            deployment.pop("user_config", None)
    return copy


def _start_with(config: dict[str, Any], pods: int) -> None:
    for _, deployment in deployments(config):
        if scaling := deployment.get("autoscaling_config"):
            initial = min(pods, scaling["max_replicas"])
            if initial > scaling["min_replicas"]:
                scaling[INITIAL] = initial


def _keep(config: dict[str, Any], there: dict[str, Any]) -> None:
    known = dict(deployments(there))
    for place, deployment in deployments(config):
        initial = known[place].get("autoscaling_config", {}).get(INITIAL)
        if initial is not None:
            deployment["autoscaling_config"][INITIAL] = initial
