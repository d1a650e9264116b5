"""`serveConfigV2`: the local configuration, serve_app/config.yaml, with what an environment adds to it."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from cluster.autoscaling.aims import Aims
from cluster.kuberay.settings import Environment
from serve_app.local import CONFIG

INITIAL = "initial_replicas"
"""Of an autoscaling_config; see cluster/kuberay/initial_pods.py."""
POLICY = "cluster.autoscaling.policy:PodsByPromise"
_LOOK_BACK_S = 30.0
"""Of which the policy takes three quarters as its window. Replicas sample every fifth of it, and report every
10 s: RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S is not read by Ray 2.60."""


def serve_config(environment: Environment) -> dict[str, Any]:
    """The configuration as a tree: the same application as on a laptop, on pods by demand.

    The model is the deployment's `user_config`, which Serve changes without restarting anything: it is the
    one value that a rollout edits.
    """
    serve = environment.serve
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    (application,) = config["applications"]
    (deployment,) = application["deployments"]
    deployment |= {
        "user_config": {"champion": {"model": serve.model}},
        "autoscaling_config": {
            "min_replicas": serve.min_pods,
            "max_replicas": serve.max_pods,
            **scaling(serve.scaling),
        },
    }
    return config


def scaling(aims: Aims) -> dict[str, Any]:
    """The part of an `autoscaling_config` that makes the policy decide: by its own windows, not Serve's."""
    return {
        "look_back_period_s": _LOOK_BACK_S,
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "policy": {"policy_function": POLICY, "policy_kwargs": aims.model_dump()},
    }


def deployments(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Each deployment with its place: application and name."""
    for application in config.get("applications") or []:
        for deployment in application.get("deployments") or []:
            yield (application["name"], deployment["name"]), deployment


def without_initial(config: dict[str, Any]) -> dict[str, Any]:
    """A copy that leaves the number of pods to the autoscaler."""
    rest = copy.deepcopy(config)
    for _, deployment in deployments(rest):
        (deployment.get("autoscaling_config") or {}).pop(INITIAL, None)
    return rest
