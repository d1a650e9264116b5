"""What Serve's controller calls: its context in, the number of replicas out. The serve config names it.

Serve would apply its own upscale_delay_s and downscale_delay_s to the answer; the windows here take their
place, so the serve config sets both to 0.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cluster.autoscaling.aims import Aims
from cluster.autoscaling.decision import Bounds, State, decide
from cluster.autoscaling.need import Points, load_of, pods_needed

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

_log = logging.getLogger("ray.serve")
_STATE = "pods"


class PodsByPromise:
    """An autoscaling policy of Ray Serve; see `Aims`.

    Args:
        aims: `policy_kwargs` of the serve config.

    Raises:
        ValidationError: an unknown aim, or one out of its range.
    """

    def __init__(self, **aims: Any) -> None:
        self._aims = Aims.model_validate(aims)

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The number of replicas there shall be, and what the next call is to be given as `policy_state`.

        While no replica has reported, the number stays as it is.
        """
        pods: int = context.target_num_replicas
        load = load_of(_by_replica(context.raw_metrics or {}))
        if load is None:
            return pods, context.policy_state
        needed = pods_needed(load, self._aims)
        bounds = Bounds(context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas)
        state = context.policy_state.get(_STATE, State())
        target, state = decide(needed, pods, bounds, self._aims, state, context.current_time)
        if target != pods:
            reasons = {"pods": pods, "target": target, "needed": needed, **asdict(load)}
            _log.info("the number of pods changes", extra=reasons)
        return target, {_STATE: state}


def _by_replica(metrics: dict[str, dict[Any, Any]]) -> list[dict[str, Points]]:
    """Serve's series by name and replica, as one mapping a replica."""
    replicas: dict[Any, dict[str, Points]] = {}
    for name, by_replica in metrics.items():
        for replica, series in by_replica.items():
            points = [(point.timestamp, point.value) for point in series]
            replicas.setdefault(replica, {})[name] = points
    return list(replicas.values())
