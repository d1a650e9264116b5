"""Initial number of pods of a new cluster: that of the cluster that it replaces, instead of the minimum.

The operator switches the traffic to a new cluster when Serve has started the deployment's initial number of
replicas: `initial_replicas`, or else `min_replicas`. Serve applies that number again at each later change of
    the
deployment, independent of the load. Therefore it is in serveConfigV2 only from the apply that creates a new
cluster to the next other change.

An upgrade through a Gateway does not use the number: its pods follow the traffic, and KubeRay leaves Serve's
`target_capacity` at 100 afterwards, which would make `initial_replicas` a permanent minimum.
"""

from typing import Any

import yaml

from cluster.kuberay.client.client import Document, KubeRay
from cluster.kuberay.client.field_ownership import ROLLOUT_MANAGER, SERVE_CONFIG, holders
from cluster.kuberay.client.resources import RAY_SERVICE, kind_of
from cluster.kuberay.manifests.serve_config import INITIAL, deployments, without_initial

_AS_IT_GOES = ("replicas", "minReplicas", "maxReplicas", "scaleStrategy")
"""Fields of a worker group that the operator changes in the existing cluster."""


def starting_as_large(client: KubeRay, document: Document, *, keep_models: bool = True) -> Document:
    """Return a service's manifest with the initial number of pods, if applying it creates a new cluster.

    A manifest without changes keeps the existing number.

    Args:
        client: Client of the cluster.
        document: Manifest of any kind; only a RayService is changed.
        keep_models: Whether the apply keeps the models of a rollout, so that the manifest's are ignored.

    Raises:
        KubeError: See `cluster.errors`.
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
    """Return the part of the Ray cluster's spec that the operator hashes to decide on a new cluster."""
    cluster = service["spec"]["rayClusterConfig"]
    groups = [
        {key: value for key, value in group.items() if key not in _AS_IT_GOES}
        for group in cluster["workerGroupSpecs"]
    ]
    return {**cluster, "workerGroupSpecs": groups}


def _settings(config: dict[str, Any], live: Document, keep_models: bool) -> dict[str, Any]:
    """Return a copy without the initial numbers, and without the models that a rollout owns."""
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
