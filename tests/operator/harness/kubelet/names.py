"""Service names without DNS: lines of each pod's hosts file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.operator.harness.kubelet.pod import Pod


def service_names(services: Iterable[dict[str, Any]], pods: Iterable[Pod], api_host: str) -> list[str]:
    """Return a line for each Service with a running pod: the names of the Service and the address of the pod.

    The pod is the first ready one, or the first one if none is ready: a Service for the Ray head resolves
    before its head is ready.
    """
    running = [pod for pod in pods if pod.phase == "Running" and not pod.is_ending]
    lines = ["127.0.0.1 localhost", f"{api_host} kubernetes.default.svc kubernetes.default"]
    for service in services:
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        selector = (service["spec"].get("selector") or {}).items()
        chosen = [
            pod
            for pod in running
            if selector
            and pod.namespace == namespace
            and selector <= (pod.body["metadata"].get("labels") or {}).items()
        ]
        if chosen:
            pod = min(chosen, key=lambda pod: not pod.is_ready)
            full = f"{name}.{namespace}"
            lines.append(f"{pod.address} {full}.svc.cluster.local {full}.svc {full} {name}")
    return lines
