"""Labels and names that identify the objects of an environment."""

from typing import Any

from cluster.kuberay.settings import Environment

INSTANCE_LABEL = "app.kubernetes.io/instance"
"""Not `…/name`, which KubeRay sets to its own value on every pod."""
COMPONENT_LABEL = "app.kubernetes.io/component"


def metadata(environment: Environment, name: str, instance: str | None = None) -> dict[str, Any]:
    """Return the metadata of an object in the environment's namespace; `instance` overrides the label."""
    return {
        "name": name,
        "namespace": environment.namespace,
        "labels": {INSTANCE_LABEL: instance or environment.name},
    }
