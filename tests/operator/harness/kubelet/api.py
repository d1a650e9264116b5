"""Calls of a kubelet to the API server, with plain JSON objects."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubernetes import client, config

from tests.operator.harness.kubelet.settings import LOG_PORT, MAX_PODS, NodeSettings
from tests.operator.harness.kubelet.timestamps import now

Object = dict[str, Any]
_TOKEN_S = 86400
_WATCH_S = 300
_ATTEMPTS = 5
_PAUSE_S = 0.5
_log = logging.getLogger(__name__)


class Api:
    """Client of the API server.

    Args:
        kubeconfig: kubeconfig of an administrator.
    """

    def __init__(self, kubeconfig: Path) -> None:
        configuration = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        self._core = client.CoreV1Api(client.ApiClient(configuration))

    def register(self, node: NodeSettings, address: str) -> None:
        """Create a node that is ready."""
        self._core.create_node(
            {"metadata": {"name": node.name, "labels": node.labels}, "spec": {"taints": node.taints}}
        )
        amounts = {"pods": str(MAX_PODS), **node.capacity}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": now()}
        status = {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": LOG_PORT}},
            "nodeInfo": {
                **dict.fromkeys(
                    ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "kubeProxyVersion"), ""
                ),
                "architecture": "amd64",
                "operatingSystem": "linux",
                "kubeletVersion": "v1.36.2",
                "containerRuntimeVersion": "process://1",
            },
        }
        self._core.patch_node_status(node.name, {"status": status})

    def pods(self) -> Iterator[list[Object] | tuple[str, Object]]:
        """Yield all pods, and then each change as (event type, pod), until the API server ends the watch."""
        listed = json.loads(self._core.list_pod_for_all_namespaces(_preload_content=False).data)
        yield listed["items"]
        answer = self._core.list_pod_for_all_namespaces(
            watch=True,
            resource_version=listed["metadata"]["resourceVersion"],
            timeout_seconds=_WATCH_S,
            _preload_content=False,
        )
        rest = b""
        for chunk in answer.stream(amt=None):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]

    def set_status(self, pod: Object, status: Object) -> None:
        """Write a pod's status; without effect if the pod was deleted."""
        metadata = pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        for attempt in range(_ATTEMPTS):
            try:
                self._core.patch_namespaced_pod_status(metadata["name"], metadata["namespace"], body)
                return
            except client.ApiException as error:
                if error.status in (404, 409):  # deleted, or replaced by another pod of that name
                    return
                _log.info("%s: status not written: %s", metadata["name"], error.reason)
            time.sleep(_PAUSE_S * (attempt + 1))

    def remove(self, pod: Object) -> None:
        """Delete a pod that has ended."""
        metadata = pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        try:
            self._core.delete_namespaced_pod(metadata["name"], metadata["namespace"], body=options)
        except client.ApiException as error:
            if error.status not in (404, 409):
                raise

    def event(self, pod: Object, reason: str, message: str) -> None:
        """Record a warning about a pod."""
        metadata = pod["metadata"]
        about = {"kind": "Pod", "apiVersion": "v1"} | {
            key: metadata[key] for key in ("name", "namespace", "uid")
        }
        body = {
            "metadata": {"generateName": f"{metadata['name']}."},
            "involvedObject": about,
            "type": "Warning",
            "reason": reason,
            "message": message[:1000],
            "source": {"component": "kubelet"},
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        try:
            self._core.create_namespaced_event(metadata["namespace"], body)
        except client.ApiException as error:
            _log.info("%s: event not written: %s", metadata["name"], error.reason)

    def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        """Return the values of a Secret.

        Raises:
            kubernetes.client.ApiException: it does not exist.
        """
        values = self._core.read_namespaced_secret(name, namespace).data or {}
        return {key: base64.b64decode(value) for key, value in values.items()}

    def config_map(self, namespace: str, name: str) -> dict[str, bytes]:
        """Return the values of a ConfigMap.

        Raises:
            kubernetes.client.ApiException: it does not exist.
        """
        values = self._core.read_namespaced_config_map(name, namespace).data or {}
        return {key: value.encode() for key, value in values.items()}

    def token(self, namespace: str, account: str) -> bytes:
        """Create a token of a service account."""
        body = {"spec": {"expirationSeconds": _TOKEN_S}}
        answer = self._core.create_namespaced_service_account_token(
            account, namespace, body, _preload_content=False
        )
        return str(json.loads(answer.data)["status"]["token"]).encode()

    def services(self) -> list[Object]:
        """Return all Services."""
        answer = self._core.list_service_for_all_namespaces(_preload_content=False)
        found: list[Object] = json.loads(answer.data)["items"]
        return found
