"""Kubelet for several nodes whose pods are processes of this machine.

    python -m tests.operator.harness.kubelet SETTINGS.json

Each pod has a network namespace. Each container has a process namespace and a root file system: this
machine's, read-only if the pod requires it, under the files of the image (`images`). Resources are only
numbers for the scheduler; users and limits are not enforced. Service names are in hosts files; there are no
cluster IPs.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import ApiException

from tests.operator.harness import network
from tests.operator.harness.kubelet.api import Api
from tests.operator.harness.kubelet.container import Container
from tests.operator.harness.kubelet.images import Images
from tests.operator.harness.kubelet.names import service_names
from tests.operator.harness.kubelet.pod import Machine, Pod
from tests.operator.harness.kubelet.server import serve
from tests.operator.harness.kubelet.settings import NODES, KubeletSettings, read_settings

_NAMES_S = 2.0
_PAUSE_S = 1.0
_GRACE_S = 30
_log = logging.getLogger("kubelet")


class Kubelet:
    """Kubelet that runs the pods that the scheduler has assigned to its nodes."""

    def __init__(self, settings: KubeletSettings) -> None:
        self._settings = settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._api = Api(settings.kubeconfig)
        images = Images(settings.checkout, settings.folder / "images")
        self._machine = Machine(settings, self._api, images, network.Addresses())
        self._nodes = {node.name for node in NODES}
        self._pods: dict[str, Pod] = {}
        self._names_are_old = threading.Event()

    def run(self) -> None:
        """Register the nodes and follow their pods forever."""
        for node in NODES:
            self._api.register(node, network.GATEWAY)
        serve(self._settings, network.GATEWAY, self._container)
        threading.Thread(target=self._write_names, daemon=True).start()
        while True:
            try:
                for change in self._api.pods():
                    if isinstance(change, list):
                        self._see_all(change)
                    else:
                        self._see(*change)
            except (ApiException, urllib3.exceptions.HTTPError) as error:
                _log.info("the watch of pods ended: %s", error)
                time.sleep(_PAUSE_S)

    def _see_all(self, bodies: list[dict[str, Any]]) -> None:
        for body in bodies:
            self._see("ADDED", body)
        for uid in self._pods.keys() - {body["metadata"]["uid"] for body in bodies}:
            self._see("DELETED", self._pods[uid].body)

    def _see(self, event: str, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        if body["spec"].get("nodeName") not in self._nodes:
            return
        pod = self._pods.get(metadata["uid"])
        if event == "DELETED":  # by force if it is still running
            if pod and not pod.is_ending:
                self._end(pod, 0)
            self._pods.pop(metadata["uid"], None)
        elif metadata.get("deletionTimestamp"):
            if pod is None:
                self._api.remove(body)
            elif not pod.is_ending:
                self._end(pod, metadata.get("deletionGracePeriodSeconds", _GRACE_S))
        elif pod is None:
            self._pods[metadata["uid"]] = Pod(self._machine, body, self._names_are_old.set)
            _log.info("%s/%s on %s", metadata["namespace"], metadata["name"], body["spec"]["nodeName"])

    def _end(self, pod: Pod, grace_s: float) -> None:
        pod.is_ending = True
        threading.Thread(target=pod.end, args=(grace_s,), daemon=True).start()

    def _write_names(self) -> None:
        while True:
            self._names_are_old.wait(_NAMES_S)
            self._names_are_old.clear()
            try:
                services = self._api.services()
            except (ApiException, urllib3.exceptions.HTTPError) as error:
                _log.info("names not written: %s", error)
                continue
            pods = list(self._pods.values())
            lines = service_names(services, pods, self._settings.api_host)
            for pod in pods:
                text = "\n".join([*lines, f"{pod.address} {pod.name}", ""])
                if pod.hosts.read_text() != text:
                    pod.hosts.write_text(text)  # in place: this file is mounted in containers

    def _container(self, namespace: str, pod: str, name: str) -> Container | None:
        for one in list(self._pods.values()):
            if (one.namespace, one.name) == (namespace, pod):
                everything = one.init_containers + one.containers
                return next((container for container in everything if container.name == name), None)
        return None


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    Kubelet(read_settings(Path(sys.argv[1]))).run()
