"""What an answer of the Kubernetes API stands for that is not the wanted one. Pure."""

import json
import re

from cluster.errors import (
    Conflict,
    Forbidden,
    KubeError,
    NoKind,
    NotFound,
    Outdated,
    Rejected,
    ServerFailed,
)
from cluster.kuberay.kinds import Kind

_MANAGER = re.compile(r'conflict with "([^"]*)"')


def error_of(status: int, content: bytes, kind: Kind, path: str) -> KubeError:
    """The error that an answer stands for, with what the server says of it."""
    try:
        answer = json.loads(content)
        said, details = str(answer.get("message", "")), answer.get("details") or {}
    except (ValueError, AttributeError):
        said, details = content.decode(errors="replace")[:500], {}
    causes = [cause for cause in details.get("causes") or [] if isinstance(cause, dict)]
    if status in (401, 403):
        who = "who asks is not known" if status == 401 else "not allowed"
        return Forbidden(f"{kind.name} at {path}: {who}: {said}; see `kubectl auth can-i --list`")
    if status == 404 and not details.get("name") and kind.from_crd:
        return NoKind(
            f"the cluster has no {kind.name} ({kind.api_version}): its CRD is not installed; "
            "docs/cluster.md says how to install KubeRay and Karpenter"
        )
    if status == 404 and details.get("kind") == "namespaces":
        name = details.get("name")
        return NotFound(
            f"{kind.name} at {path}: there is no namespace {name}; make it with `kubectl create namespace "
            f"{name}`, or with `cluster apply --create-namespace`"
        )
    if status == 404:
        return NotFound(f"{kind.name} at {path}: {said or 'not found'}")
    if status == 409:
        fields = "; ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in causes)
        if not fields:
            return Outdated(f"{kind.name} at {path}: {said}; try again")
        managers = frozenset(name for cause in causes for name in _MANAGER.findall(str(cause.get("message"))))
        return Conflict(f"{kind.name} at {path}: {fields}; --force takes the fields over", managers)
    if status == 429 or status >= 500:
        return ServerFailed(f"{kind.name} at {path}: the API server answered {status}: {said}")
    faults = "; ".join(f"{cause.get('field')}: {cause.get('message')}" for cause in causes)
    return Rejected(f"{kind.name} at {path}: {status}: {faults or said}")
