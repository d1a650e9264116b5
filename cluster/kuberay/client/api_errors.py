"""Translation of error responses of the Kubernetes API into the control plane's errors."""

import json
import re

from cluster.errors import (
    ApiServerError,
    ConflictError,
    ForbiddenError,
    KubeError,
    ObjectNotFoundError,
    ObjectRejectedError,
    StaleObjectError,
    UnknownKindError,
)
from cluster.kuberay.client.resources import ResourceKind

_MANAGER = re.compile(r'conflict with "([^"]*)"')


def error_of(status: int, content: bytes, kind: ResourceKind, path: str) -> KubeError:
    """Return the error for a response, with the server's message."""
    try:
        answer = json.loads(content)
        message, details = str(answer.get("message", "")), answer.get("details") or {}
    except (ValueError, AttributeError):
        message, details = content.decode(errors="replace")[:500], {}
    causes = [cause for cause in details.get("causes") or [] if isinstance(cause, dict)]
    if status in (401, 403):
        reason = "not authenticated" if status == 401 else "not allowed"
        return ForbiddenError(f"{kind.name} at {path}: {reason}: {message}; see `kubectl auth can-i --list`")
    if status == 404 and not details.get("name") and kind.from_crd:
        return UnknownKindError(
            f"the cluster has no {kind.name} ({kind.api_version}): its CRD is not installed; "
            "docs/cluster.md describes how to install KubeRay and Karpenter"
        )
    if status == 404 and details.get("kind") == "namespaces":
        name = details.get("name")
        return ObjectNotFoundError(
            f"{kind.name} at {path}: the namespace {name} does not exist; create it with `kubectl create "
            f"namespace {name}`, or with `cluster apply --create-namespace`"
        )
    if status == 404:
        return ObjectNotFoundError(f"{kind.name} at {path}: {message or 'not found'}")
    if status == 409:
        fields = "; ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in causes)
        if not fields:
            return StaleObjectError(f"{kind.name} at {path}: {message}; retry")
        managers = frozenset(name for cause in causes for name in _MANAGER.findall(str(cause.get("message"))))
        return ConflictError(f"{kind.name} at {path}: {fields}; take over the fields with --force", managers)
    if status == 429 or status >= 500:
        return ApiServerError(f"{kind.name} at {path}: the API server answered {status}: {message}")
    faults = "; ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in causes)
    return ObjectRejectedError(f"{kind.name} at {path}: {status}: {faults or message}")
