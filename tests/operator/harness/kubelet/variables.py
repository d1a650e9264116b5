"""Environment variables of a container."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from tests.operator.harness.kubelet.api import Api

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z_0-9]*)\)")


def variables(
    api: Api, pod: dict[str, Any], container: dict[str, Any], fields: Callable[[str], str]
) -> dict[str, str]:
    """Return the variables that a container's `env` describes.

    Raises:
        kubernetes.client.ApiException: a Secret or ConfigMap is missing.
        KeyError: it has no such key.
    """
    namespace = pod["metadata"]["namespace"]
    found: dict[str, str] = {}
    for entry in container.get("env") or []:
        source = entry.get("valueFrom") or {}
        if "fieldRef" in source:
            value = fields(source["fieldRef"]["fieldPath"])
        elif "secretKeyRef" in source:
            about = source["secretKeyRef"]
            value = api.secret(namespace, about["name"])[about["key"]].decode()
        elif "configMapKeyRef" in source:
            about = source["configMapKeyRef"]
            value = api.config_map(namespace, about["name"])[about["key"]].decode()
        elif "resourceFieldRef" in source:
            value = _resource(container, source["resourceFieldRef"])
        else:
            value = expanded(entry.get("value", ""), found)
        found[entry["name"]] = value
    return found


def expanded(text: str, values: dict[str, str]) -> str:
    """Return the text with each $(NAME) replaced by its value, if there is one."""
    return _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)


def field(pod: dict[str, Any], path: str) -> str:
    """Return a field of a pod by its path in the downward API; empty if the pod does not have it."""
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _resource(container: dict[str, Any], source: dict[str, Any]) -> str:
    """Return an amount of the container's resources in units of the divisor, rounded up.

    Without a limit, the limit is the request.
    """
    kind, _, name = source["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(name) or (resources.get("requests") or {}).get(name, "0")
    divisor = parse_quantity(source.get("divisor", "1")) or 1
    return str(math.ceil(parse_quantity(amount) / divisor))
