"""Metrics of the replicas in a Kubernetes cluster without Prometheus, read from each pod via the API server.

The proxy of the API server is the only path to a pod that is the same from a laptop and from inside the
cluster. It needs the permission to `get` `pods/proxy`, and a NetworkPolicy must admit the API server.
"""

from __future__ import annotations

from typing import Any

from cluster.errors import KubeError
from cluster.kuberay.client.client import KubeRay
from cluster.kuberay.client.resources import RAY_SERVICE
from cluster.rollout.errors import MetricSourceError
from cluster.rollout.metric_sources import Reading, gathered

_PORT_NAME, _PORT = "metrics", 8080
"""Port name and number: KubeRay makes every Ray node export metrics there, and names the port so."""


class PodMetrics:
    """Prometheus endpoints of the pods of a RayService.

    Args:
        client: client of the cluster.
        namespace: namespace of the service.
        name: name of the service.
    """

    def __init__(self, client: KubeRay, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    def read(self) -> Reading:
        """Read the series of all running pods; a pod that does not answer is missing.

        A pod that is being deleted is not expected to answer, and is not read. Raises MetricSourceError if
        no pod answers.
        """
        try:
            clusters = self._client.clusters(RAY_SERVICE, self._namespace, self._name)
            pods = [pod for cluster in clusters for pod in self._client.pods(cluster, self._namespace)]
        except KubeError as error:
            raise MetricSourceError(f"the pods are not listed: {error}") from error
        ports = {
            pod["metadata"]["name"]: _port(pod)
            for pod in pods
            if (pod.get("status") or {}).get("phase") == "Running"
            and not pod["metadata"].get("deletionTimestamp")
        }

        def fetch(pod: str) -> str:
            try:
                return self._client.page(self._namespace, pod, ports[pod], "metrics")
            except KubeError as error:
                raise MetricSourceError(str(error)) from error

        return gathered(ports, fetch)


def _port(pod: dict[str, Any]) -> int:
    """Return the port on which a pod exports its metrics."""
    named = (
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or []
        if port.get("name") == _PORT_NAME
    )
    return int(next(named, _PORT))
