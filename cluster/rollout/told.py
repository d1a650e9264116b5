"""Conversion between a mix and the deployment's options in a Serve configuration; used by every target."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from cluster.rollout.errors import TargetFailed
from cluster.rollout.plan import Step
from cluster.rollout.target import Guard, Mix
from serve_app.replica.user_config import UserConfig

Options = dict[str, Any]


def user_config_of(mix: Mix, fence: int = 0) -> Options:
    """Return the `user_config` for a mix, with the number of the change if it has one."""
    canary = None
    if mix.canary is not None and mix.step is not None:
        canary = {"model": mix.canary, "replicas": mix.step.pods, "shadow": mix.step.shadow}
    fenced = {"fence": fence} if fence else {}
    return {"champion": {"model": mix.champion}, "canary": canary, **fenced}


def replaced(user_config: Any, mix: Mix, guard: Guard | None) -> Options:
    """Return the options that replace the configured mix; none if the mix is configured already.

    Raises:
        ForeignChange, LeaseLost: the guard does not permit the replacement.
    """
    there, fence = mix_of(user_config), fence_of(user_config)
    if guard is not None:
        guard.check(there, fence)
    wanted = guard.fence if guard else fence
    return {} if (there, fence) == (mix, wanted) else {"user_config": user_config_of(mix, wanted)}


def fence_of(user_config: Any) -> int:
    """Return the number of the change that configured the pods. Raises TargetFailed as `mix_of`."""
    return _parsed(user_config).fence


def mix_of(user_config: Any) -> Mix:
    """Return the configured mix. Raises TargetFailed if the configuration is not one of this service."""
    config = _parsed(user_config)
    if config.canary is None:
        return Mix(config.champion.model)
    step = Step(config.canary.replicas, config.canary.shadow)
    return Mix(config.champion.model, config.canary.model, step)


def _parsed(user_config: Any) -> UserConfig:
    try:
        return UserConfig.model_validate(user_config)
    except ValidationError as error:
        raise TargetFailed(
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
