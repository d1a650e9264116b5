"""An operator for the stand-in of the Kubernetes API that tells a real Ray Serve, as KubeRay does.

A new serveConfigV2 is put to Serve's API, and what Serve says of it becomes the RayService's status. There is
one pod, this machine, whose metrics the stand-in's proxy hands on.
"""

from __future__ import annotations

from typing import Any

import httpx
import yaml

from cluster.kuberay.kinds import POD, RAY_SERVICE
from cluster.rollout.target import Mix
from cluster.rollout.told import override, user_config_of
from serve_app.local import Plan
from tests.integration.kube_api import Fault, KubeApi
from tests.integration.rayservice_world import CLUSTER, NAME, NAMESPACE, PATH, pod

_POD = f"{CLUSTER}-worker-0"
_GLOBAL = ("proxy_location", "http_options")


class RayOperator:
    """Acts on the RayService each time that somebody asks for it.

    Args:
        api: the stand-in.
        service: what runs already; it becomes the RayService's first configuration.
        client: speaks HTTP.
    """

    def __init__(self, api: KubeApi, service: Plan, client: httpx.Client) -> None:
        self._api = api
        self._url = f"{service.dashboard}/api/serve/applications/"
        self._client = client
        self._done = 1
        api.put(PATH, self._first_service())
        api.put(POD.path(NAMESPACE, _POD), pod(_POD))
        page = f"{POD.path(NAMESPACE, _POD)}:8080/proxy/metrics"
        api.pages[page] = lambda: client.get(service.metrics).raise_for_status().text
        api.before = self._before

    def _before(self, method: str, path: str) -> Fault:
        if path == PATH and method == "GET":
            self._reconcile()
        return None

    def _reconcile(self) -> None:
        service = self._api.objects[PATH]
        generation = service["metadata"]["generation"]
        if generation != self._done:
            config = yaml.safe_load(service["spec"]["serveConfigV2"])
            self._client.put(self._url, json=config).raise_for_status()
            self._done = generation
        application = self._details()["applications"]["sentiment"]
        deployments = application["deployments"]
        replicas = deployments["classifier"]["replicas"]
        status = {
            "conditions": [{"type": "Ready", "status": "True", "reason": "NonZeroServeEndpoints"}],
            "numServeEndpoints": sum(replica["state"] == "RUNNING" for replica in replicas),
            "activeServiceStatus": {
                "rayClusterName": CLUSTER,
                "applicationStatuses": {
                    "sentiment": {
                        "status": application["status"],
                        "message": application["message"],
                        "serveDeploymentStatuses": {
                            name: {"status": deployment["status"], "message": deployment["message"]}
                            for name, deployment in deployments.items()
                        },
                    }
                },
            },
        }
        if {**status, "observedGeneration": generation} != service.get("status"):
            self._api.set_status(PATH, status)

    def _first_service(self) -> dict[str, Any]:
        details = self._details()
        application = details["applications"]["sentiment"]["deployed_app_config"]
        override(application, "classifier", {"user_config": user_config_of(Mix("builtin:"))})
        config = {**{key: details[key] for key in _GLOBAL}, "applications": [application]}
        return {
            "apiVersion": RAY_SERVICE.api_version,
            "kind": RAY_SERVICE.name,
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {"serveConfigV2": yaml.safe_dump(config)},
        }

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = self._client.get(self._url).raise_for_status().json()
        return details
