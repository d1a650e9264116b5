"""PodMonitor for the Prometheus operator, as a strict model of the used part of its API.

`check` uses the operator's CRD instead of this model if it is available.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from cluster.kuberay.manifests.labels import INSTANCE_LABEL, metadata
from cluster.kuberay.settings import Environment

API_VERSION = "monitoring.coreos.com/v1"


class _PodMonitorPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _PodMonitorMetadata(_PodMonitorPart):
    name: StrictStr
    namespace: StrictStr | None = None
    labels: dict[str, StrictStr] = {}


class _Selector(_PodMonitorPart):
    matchLabels: dict[str, StrictStr]


class _Endpoint(_PodMonitorPart):
    port: StrictStr
    interval: Annotated[StrictStr, Field(pattern=r"^\d+s$")]


class _Spec(_PodMonitorPart):
    selector: _Selector
    podTargetLabels: list[StrictStr] = []
    podMetricsEndpoints: Annotated[list[_Endpoint], Field(min_length=1)]


class PodMonitor(_PodMonitorPart):
    """monitoring.coreos.com/v1 PodMonitor."""

    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: _PodMonitorMetadata
    spec: _Spec


def pod_monitor_documents(environment: Environment) -> list[dict[str, Any]]:
    """Return the PodMonitor of all Ray pods; none if it is not configured."""
    settings = environment.pod_monitor
    if settings is None:
        return []
    about = metadata(environment, environment.name)
    about["labels"] = {**settings.labels, **about["labels"]}
    interval = f"{settings.interval_s}s"
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "PodMonitor",
            "metadata": about,
            "spec": {
                "selector": {"matchLabels": {INSTANCE_LABEL: environment.name}},
                "podTargetLabels": [INSTANCE_LABEL],
                # Names of container ports: Ray's metrics with those of the replicas, and HAProxy's.
                "podMetricsEndpoints": [
                    {"port": port, "interval": interval} for port in ("metrics", "haproxy-metrics")
                ],
            },
        }
    ]
