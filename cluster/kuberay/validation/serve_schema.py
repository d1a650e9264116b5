"""Strict validation of `serveConfigV2`: Ray's schema, and no keys that Ray would silently ignore."""

from collections.abc import Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema

from cluster.autoscaling.config import PolicyConfig
from cluster.kuberay.manifests.serve_config import POLICY
from serve_app.app import DEPLOYMENT, AppArgs
from serve_app.replica.user_config import UserConfig

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
IMPORT_PATH = "serve_app.app:app"


def serve_config_problems(text: str) -> list[Problem]:
    """Return the faults of a serveConfigV2, each with its location.

    Args:
        text: YAML text in the manifest.
    """
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [((), f"is not YAML: {error}")]
    if not isinstance(config, dict):
        return [((), f"expected a mapping with `applications`, got {type(config).__name__}")]
    problems = list(_unknown_keys(ServeDeploySchema, config, ()))
    problems += _by_model(ServeDeploySchema, config, ())
    applications = config.get("applications")
    for number, application in enumerate(applications if isinstance(applications, list) else []):
        if isinstance(application, dict):
            problems += _application(application, ("applications", number))
    return problems


def _application(application: dict[str, Any], place: Place) -> Iterator[Problem]:
    """Yield faults in the arguments and the user_config of this project's application."""
    ours = application.get("import_path") == IMPORT_PATH
    if ours and application.get("args") is not None:
        yield from _by_model(AppArgs, application["args"], (*place, "args"))
    deployments = application.get("deployments")
    for number, deployment in enumerate(deployments if isinstance(deployments, list) else []):
        if not isinstance(deployment, dict):
            continue
        here = (*place, "deployments", number)
        scaling = deployment.get("autoscaling_config")
        if isinstance(scaling, dict):
            yield from _by_model(AutoscalingConfig, scaling, (*here, "autoscaling_config"))
            yield from _policy(scaling.get("policy"), (*here, "autoscaling_config", "policy"))
        options = deployment.get("ray_actor_options")
        if isinstance(options, dict):
            yield from _fallbacks(options.get("fallback_strategy"), (*here, "ray_actor_options"))
        if not ours:
            continue
        if deployment.get("name") != DEPLOYMENT:
            yield (
                (*here, "name"),
                f"expected {DEPLOYMENT!r}, the deployment of {IMPORT_PATH}, got {deployment.get('name')!r}",
            )
        if "user_config" in deployment:
            yield from _by_model(UserConfig, deployment["user_config"], (*here, "user_config"))


def _fallbacks(strategies: Any, place: Place) -> Iterator[Problem]:
    """Yield selectors of a fallback_strategy that Ray would reject only when it starts a replica."""
    for number, strategy in enumerate(strategies if isinstance(strategies, list) else []):
        selector = strategy.get("label_selector") if isinstance(strategy, dict) else None
        if not isinstance(selector, dict) or not all(isinstance(value, str) for value in selector.values()):
            here = (*place, "fallback_strategy", number, "label_selector")
            yield here, f"expected a mapping of labels to texts, got {selector!r}"


def _policy(policy: Any, place: Place) -> Iterator[Problem]:
    """Yield faults in the arguments of this project's autoscaling policy."""
    if isinstance(policy, dict) and policy.get("policy_function") == POLICY:
        yield from _by_model(PolicyConfig, policy.get("policy_kwargs", {}), (*place, "policy_kwargs"))


def _by_model(model: type[BaseModel], value: Any, place: Place) -> list[Problem]:
    """Return the faults of a value by a pydantic model."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        return [((*place, *fault["loc"]), fault["msg"]) for fault in error.errors()]
    except (TypeError, ValueError, AttributeError, ImportError) as error:
        # Some of Ray's validators fail on a value of the wrong type, or on an import path that does not
        # exist.
        return [(place, f"Ray's schema cannot read it: {error}")]
    return []


def _unknown_keys(annotation: Any, value: Any, place: Place) -> Iterator[Problem]:
    """Yield keys that are not fields of the annotation's models."""
    if get_origin(annotation) is Annotated:
        yield from _unknown_keys(get_args(annotation)[0], value, place)
    elif get_origin(annotation) in (Union, UnionType):
        # `Dict | AutoscalingConfig`: the model defines the keys of the dictionary.
        models = [choice for choice in get_args(annotation) if _leads_to_model(choice)]
        if models:
            yield from _unknown_keys(models[0], value, place)
    elif get_origin(annotation) is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _unknown_keys(get_args(annotation)[0], item, (*place, number))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value, dict):
        fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
        for key, child in value.items():
            if key in fields:
                yield from _unknown_keys(fields[key].annotation, child, (*place, key))
            else:
                yield (*place, str(key)), f"Ray would ignore this key{nearest(str(key), fields)}"


def _leads_to_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_leads_to_model(part) for part in get_args(annotation))


def nearest(key: str, known: Any) -> str:
    """Return `; did you mean …?`, or an empty string."""
    close = get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
