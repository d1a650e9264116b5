"""Autoscaling policy that Serve's controller calls; the Serve config names the class.

The policy's windows replace Serve's upscale_delay_s and downscale_delay_s, which the Serve config sets to 0.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cluster.autoscaling.config import PolicyConfig
from cluster.autoscaling.decision import PolicyState, ReplicaBounds, decide
from cluster.autoscaling.demand import Points, load_of, pods_needed

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

_log = logging.getLogger("ray.serve")
_STATE = "pods"


class SLOAutoscalingPolicy:
    """Autoscaling policy for Ray Serve, configured by `PolicyConfig`.

    Args:
        aims: `policy_kwargs` of the Serve config.

    Raises:
        ValidationError: A setting is unknown or out of range.
    """

    def __init__(self, **aims: Any) -> None:
        self._aims = PolicyConfig.model_validate(aims)

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return the target number of replicas, and the `policy_state` for the next call.

        The number does not change while no replica has reported.
        """
        pods: int = context.target_num_replicas
        load = load_of(_by_replica(context.raw_metrics or {}))
        if load is None:
            return pods, context.policy_state
        needed = pods_needed(load, self._aims)
        bounds = ReplicaBounds(context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas)
        state = context.policy_state.get(_STATE, PolicyState())
        target, state = decide(needed, pods, bounds, self._aims, state, context.current_time)
        if target != pods:
            reasons = {"pods": pods, "target": target, "needed": needed, **asdict(load)}
            _log.info("changing the number of pods", extra=reasons)
        return target, {_STATE: state}


PodsByPromise = SLOAutoscalingPolicy
"""Former name, which a serveConfigV2 that a rollout owns may still contain; kept for one release."""


def _by_replica(metrics: dict[str, dict[Any, Any]]) -> list[dict[str, Points]]:
    """Regroup Serve's series, by name and replica, to one mapping per replica."""
    replicas: dict[Any, dict[str, Points]] = {}
    for name, by_replica in metrics.items():
        for replica, series in by_replica.items():
            points = [(point.timestamp, point.value) for point in series]
            replicas.setdefault(replica, {})[name] = points
    return list(replicas.values())
