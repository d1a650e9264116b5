"""Conversion between a split and the deployment's options in a Serve configuration; used by every target."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from cluster.rollout.errors import TargetError
from cluster.rollout.plan import CanaryPods
from cluster.rollout.targets.base import SplitGuard, TrafficSplit
from serve_app.replica.user_config import UserConfig

Options = dict[str, Any]


def user_config_of(split: TrafficSplit, fence: int = 0) -> Options:
    """Return the `user_config` for a split, with the number of the change if it has one."""
    canary = None
    if split.canary is not None and split.step is not None:
        canary = {"model": split.canary, "replicas": split.step.pods, "shadow": split.step.shadow}
    fenced = {"fence": fence} if fence else {}
    return {"champion": {"model": split.champion}, "canary": canary, **fenced}


def replaced(user_config: Any, split: TrafficSplit, guard: SplitGuard | None) -> Options:
    """Return the options that replace the configured split; none if the split is configured already.

    Raises:
        ForeignChangeError, LeaseLostError: the guard does not permit the replacement.
    """
    there, fence = split_of(user_config), fence_of(user_config)
    if guard is not None:
        guard.check(there, fence)
    wanted = guard.fence if guard else fence
    return {} if (there, fence) == (split, wanted) else {"user_config": user_config_of(split, wanted)}


def fence_of(user_config: Any) -> int:
    """Return the number of the change that configured the pods. Raises TargetError as `split_of`."""
    return _parsed(user_config).fence


def split_of(user_config: Any) -> TrafficSplit:
    """Return the configured split. Raises TargetError if the configuration is not one of this service."""
    config = _parsed(user_config)
    if config.canary is None:
        return TrafficSplit(config.champion.model)
    step = CanaryPods(config.canary.replicas, config.canary.shadow)
    return TrafficSplit(config.champion.model, config.canary.model, step)


def _parsed(user_config: Any) -> UserConfig:
    try:
        return UserConfig.model_validate(user_config)
    except ValidationError as error:
        raise TargetError(
            f"the deployment's user_config is not one of this service: {error.errors(include_url=False)}"
        ) from error


def scaled(options: Options, replicas: int) -> Options:
    """Return the changed options for a number of pods: the number itself, or the autoscaler's minimum."""
    scaling = options.get("autoscaling_config")
    if scaling is None:
        return {"num_replicas": replicas}
    most = max(replicas, scaling.get("max_replicas", 1))
    return {"autoscaling_config": {**scaling, "min_replicas": replicas, "max_replicas": most}}


def options_of(application: dict[str, Any], deployment: str) -> Options:
    """Return the options of one deployment in an application's configuration; none if it is not listed."""
    for entry in application.get("deployments") or []:
        if entry["name"] == deployment:
            return dict(entry)
    return {}


def override(application: dict[str, Any], deployment: str, options: Options) -> None:
    """Set options of one deployment in an application's configuration, in place."""
    deployments = application.setdefault("deployments", [])
    for entry in deployments:
        if entry["name"] == deployment:
            entry.update(options)
            return
    deployments.append({"name": deployment, **options})
