"""Rollout target that is a Ray Serve application, through the REST API on the dashboard's port.

Serve accepts only an entire configuration and returns the current one. A change therefore reads it, changes
the `user_config` of one deployment, and writes it back. All other configuration stays unchanged.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

import httpx

from cluster.rollout.errors import TargetError
from cluster.rollout.metric_sources import auth_headers
from cluster.rollout.targets.base import DeploymentState, SplitGuard, TrafficSplit
from cluster.rollout.targets.serve_config import Options, fence_of, override, replaced, scaled, split_of

_GLOBAL = ("proxy_location", "http_options", "grpc_options", "target_capacity")


class ServeTarget:
    """Serve application, on this machine or another.

    Args:
        dashboard: address of the Ray dashboard, for example http://127.0.0.1:8265.
        application: name of the application.
        deployment: name of the deployment in the application.
        client: HTTP client, which the caller closes.
    """

    def __init__(
        self,
        dashboard: str,
        application: str = "sentiment",
        deployment: str = "classifier",
        *,
        client: httpx.Client,
    ) -> None:
        self._url = f"{dashboard.rstrip('/')}/api/serve/applications/"
        self._application = application
        self._deployment = deployment
        self._client = client

    def read(self) -> DeploymentState:
        """Return the configuration of the deployment and its progress; see `Target`."""
        application = self._found(self._details())
        deployment = self._deployment_in(application)
        config = deployment["deployment_config"]
        replicas = deployment["target_num_replicas"]
        running = [replica for replica in deployment["replicas"] if replica["state"] == "RUNNING"]
        scaling = config.get("autoscaling_config")
        return DeploymentState(
            split=split_of(config.get("user_config")),
            fence=fence_of(config.get("user_config")),
            replicas=replicas,
            least=scaling["min_replicas"] if scaling else replicas,
            settled=application["status"] == "RUNNING"
            and deployment["status"] == "HEALTHY"
            and len(running) == len(deployment["replicas"]) == replicas,
            message=" ".join(filter(None, (application["message"], deployment["message"]))),
            failed=application["status"] == "DEPLOY_FAILED",
        )

    def apply(self, split: TrafficSplit, guard: SplitGuard | None = None) -> None:
        """Write the split into the deployment's `user_config`; see `Target`."""
        self._change(lambda config: replaced(config.get("user_config"), split, guard))

    def scale(self, replicas: int) -> None:
        """Set `num_replicas`, or the autoscaler's minimum; see `Target`."""
        self._change(lambda config: scaled(config, replicas))

    def _change(self, change: Callable[[Options], Options]) -> None:
        """Write the configuration back with changed options of the deployment, if any change.

        Serve has no conditional writes, so a change by others in the milliseconds between read and write is
        lost.
        """
        details = self._details()
        options = change(self._deployment_in(self._found(details))["deployment_config"])
        if not options:
            return
        applications = [
            copy.deepcopy(application["deployed_app_config"])
            for application in details["applications"].values()
            if application.get("deployed_app_config") is not None
        ]
        for application in applications:
            if application["name"] == self._application:
                override(application, self._deployment, options)
        settings = {key: details[key] for key in _GLOBAL if details.get(key) is not None}
        answer = self._ask("PUT", json={**settings, "applications": applications})
        if not answer.is_success:
            raise TargetError(f"Serve at {self._url} refused the change {options}: {answer.text[:1000]}")

    def _found(self, details: dict[str, Any]) -> dict[str, Any]:
        application: dict[str, Any] | None = details["applications"].get(self._application)
        if application is None:
            names = ", ".join(details["applications"]) or "none"
            raise TargetError(
                f"no application {self._application!r} at {self._url} (it has: {names}); set --application, "
                "or start it with make serve"
            )
        if application.get("deployed_app_config") is None:
            raise TargetError(
                f"{self._application!r} was started from code (serve run), which Serve's API cannot change; "
                "start it with serve deploy or make serve"
            )
        return application

    def _deployment_in(self, application: dict[str, Any]) -> dict[str, Any]:
        deployment: dict[str, Any] | None = application["deployments"].get(self._deployment)
        if deployment is None:
            raise TargetError(
                f"{self._application} has no deployment {self._deployment!r} (it is {application['status']}: "
                f"{application['message']}); wait until it runs, or set --deployment"
            )
        return deployment

    def _details(self) -> dict[str, Any]:
        answer = self._ask("GET")
        if not answer.is_success:
            raise TargetError(f"{self._url} responded with {answer.status_code}: {answer.text[:500]}")
        try:
            details: dict[str, Any] = answer.json()
            details["applications"]
            return details
        except (ValueError, KeyError, TypeError) as error:
            raise TargetError(
                f"the response of {self._url} is not that of Serve's API ({error!r}); check --dashboard"
            ) from error

    def _ask(self, method: str, **options: Any) -> httpx.Response:
        try:
            return self._client.request(method, self._url, headers=auth_headers(os.environ), **options)
        except httpx.HTTPError as error:
            raise TargetError(
                f"no answer from {self._url}: {error!r}; check --dashboard and that the cluster runs"
            ) from error
