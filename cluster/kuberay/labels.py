"""Labels and names: how everything of one environment is told from everything else."""

from typing import Any

from cluster.kuberay.settings import Environment

INSTANCE_LABEL = "app.kubernetes.io/instance"
"""Not `…/name`: KubeRay gives that one a value of its own on every pod."""
COMPONENT_LABEL = "app.kubernetes.io/component"


def metadata(environment: Environment, name: str, instance: str | None = None) -> dict[str, Any]:
    """Of an object in the environment's namespace; `instance` where its pods are not the service's."""
    return {
        "name": name,
        "namespace": environment.namespace,
        "labels": {INSTANCE_LABEL: instance or environment.name},
    }
