"""`serveConfigV2`: the local configuration, serve_app/config.yaml, with an environment's additions."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from cluster.autoscaling.config import PolicyConfig
from cluster.kuberay.settings import Environment
from serve_app.dev_server.launcher import CONFIG

FLOOR_LABEL = "sentiment/floor"
"""Label of the Ray nodes that always run."""
INITIAL = "initial_replicas"
"""Field of an autoscaling_config; see cluster/kuberay/client/initial_pods.py."""
POLICY = "cluster.autoscaling.policy:SLOAutoscalingPolicy"
_LOOK_BACK_S = 30.0
"""The policy's window is three quarters of it. Replicas sample every fifth of it, and report every 10 s: Ray
2.60 does not read RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S."""


def serve_config(environment: Environment) -> dict[str, Any]:
    """Return the configuration: the local application with autoscaled pods.

    The model is in the deployment's `user_config`, which Serve changes without restarting replicas: it is the
    only value that a rollout edits.
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
    if environment.floor:
        deployment["ray_actor_options"] = _on_the_floor_first(environment)
    return config


def _on_the_floor_first(environment: Environment) -> dict[str, Any]:
    """Return the options with which replicas are placed on the pods that always run first, and stay there.

    Serve stops the replicas on nodes without the label first. Without the label it would stop the oldest
    ones, which are on the pods that always run: these would then be idle, next to as many others.
    """
    pod = {"num_cpus": environment.replica.cpus, "num_gpus": environment.workers[0].gpus}
    variables = environment.environment
    return {
        "num_cpus": float(variables.get("SENTIMENT_REPLICA_CPUS", pod["num_cpus"])),
        "num_gpus": float(variables.get("SENTIMENT_REPLICA_GPUS", pod["num_gpus"])),
        "label_selector": {FLOOR_LABEL: "true"},
        "fallback_strategy": [{"label_selector": {FLOOR_LABEL: "!true"}}],
    }


def scaling(aims: PolicyConfig) -> dict[str, Any]:
    """Return the part of an `autoscaling_config` that selects the policy and disables Serve's delays."""
    return {
        "look_back_period_s": _LOOK_BACK_S,
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "policy": {"policy_function": POLICY, "policy_kwargs": aims.model_dump()},
    }


def deployments(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """Yield each deployment with its location: application and name."""
    for application in config.get("applications") or []:
        for deployment in application.get("deployments") or []:
            yield (application["name"], deployment["name"]), deployment


def without_initial(config: dict[str, Any]) -> dict[str, Any]:
    """Return a copy without the initial number of replicas."""
    rest = copy.deepcopy(config)
    for _, deployment in deployments(rest):
        (deployment.get("autoscaling_config") or {}).pop(INITIAL, None)
    return rest
