"""Rollout target that is a RayService: the rollout owns its `serveConfigV2`, and KubeRay applies it to Serve.

The target does not use Serve's own API: the operator applies its serveConfigV2 again whenever it restarts,
and would remove a canary that is configured only in Serve. Everything is read from this one object, so the
permissions to get and to patch it are sufficient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from cluster.errors import (
    ForbiddenError,
    KubeError,
    ObjectNotFoundError,
    ObjectRejectedError,
    UnknownKindError,
)
from cluster.kuberay.client.client import FIELD_MANAGER, Document, KubeRay
from cluster.kuberay.client.field_ownership import ROLLOUT_MANAGER, SERVE_CONFIG, edit, holders
from cluster.kuberay.client.resources import RAY_SERVICE
from cluster.kuberay.client.status import least_replicas, progress
from cluster.rollout.errors import TargetError, TargetRejectedError
from cluster.rollout.targets.base import DeploymentState, SplitGuard, TrafficSplit
from cluster.rollout.targets.serve_config import (
    Options,
    fence_of,
    options_of,
    override,
    replaced,
    scaled,
    split_of,
)

_OURS = frozenset((FIELD_MANAGER, ROLLOUT_MANAGER))
_FINAL = (ForbiddenError, UnknownKindError, ObjectNotFoundError, ObjectRejectedError)
"""Errors for which a retry does not help."""


class RayServiceTarget:
    """RayService in a Kubernetes cluster.

    Args:
        client: client of the cluster.
        namespace: namespace of the service.
        name: name of the service.
        application: name of the application in its serveConfigV2.
        deployment: name of the deployment in that application.
        take_over: own serveConfigV2 even if a field manager outside this project owns it.
    """

    def __init__(
        self,
        client: KubeRay,
        namespace: str,
        name: str,
        application: str = "sentiment",
        deployment: str = "classifier",
        *,
        take_over: bool = False,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._application = application
        self._deployment = deployment
        self._take_over = take_over

    def read(self) -> DeploymentState:
        """Return the serving state from the RayService's serveConfigV2 and status; see `Target`.

        A pod holds one replica, so the replicas are the endpoints that the operator counts. A pod that is
        temporarily not ready is not counted, so the result is never below the minimum number of replicas.
        """
        with _translated():
            service = self._client.get(RAY_SERVICE, self._namespace, self._name)
        options = options_of(self._application_in(_config(service)), self._deployment)
        stands, status = progress(service), service.get("status") or {}
        statuses = (status.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
        deployments = statuses.get(self._application, {}).get("serveDeploymentStatuses") or {}
        deployment = deployments.get(self._deployment, {})
        least, endpoints = least_replicas(options), status.get("numServeEndpoints", 0)
        return DeploymentState(
            split=split_of(options.get("user_config")),
            fence=fence_of(options.get("user_config")),
            replicas=max(least, endpoints),
            least=least,
            settled=stands.state == "ready" and deployment.get("status") == "HEALTHY" and endpoints >= least,
            message=" ".join(filter(None, (stands.summary, deployment.get("message")))),
            failed=stands.state == "failed",
            blocked=self._blocked(service),
        )

    def apply(self, split: TrafficSplit, guard: SplitGuard | None = None) -> None:
        """Write the split into the deployment's `user_config`; see `Target`."""
        self._change(lambda options: replaced(options.get("user_config"), split, guard))

    def scale(self, replicas: int) -> None:
        """Set `num_replicas`, or the autoscaler's minimum; see `Target`."""
        self._change(lambda options: scaled(options, replicas) if least_replicas(options) != replicas else {})

    def _change(self, change: Callable[[Options], Options]) -> None:
        """Change options of the deployment in exactly the serveConfigV2 that was read."""

        def edited(service: Document) -> str:
            text: str = service["spec"][SERVE_CONFIG]
            config = _config(service)
            application = self._application_in(config)
            options = change(options_of(application, self._deployment))
            if not options:
                return text
            if blocked := self._blocked(service):
                raise TargetRejectedError(blocked)
            override(application, self._deployment, options)
            return yaml.safe_dump(config, sort_keys=False)

        with _translated():
            edit(self._client, self._namespace, self._name, edited)

    def _blocked(self, service: Document) -> str:
        """Return why this rollout may not change the configuration, or an empty text."""
        others = ", ".join(sorted(holders(service) - _OURS))
        if not others or self._take_over:
            return ""
        return (
            f"{SERVE_CONFIG} of RayService {self._namespace}/{self._name} is owned by the field manager "
            f"{others}; stop its writes to the field, then use --take-over"
        )

    def _application_in(self, config: dict[str, Any]) -> dict[str, Any]:
        applications: list[dict[str, Any]] = config.get("applications") or []
        for application in applications:
            if application.get("name") == self._application:
                return application
        names = ", ".join(str(application.get("name")) for application in applications) or "none"
        raise TargetRejectedError(
            f"{SERVE_CONFIG} of {self._namespace}/{self._name} has no application {self._application!r} "
            f"(it has: {names}); set --application"
        )


def _config(service: Document) -> dict[str, Any]:
    try:
        config = yaml.safe_load(service["spec"].get(SERVE_CONFIG, ""))
    except yaml.YAMLError as error:
        raise TargetRejectedError(f"{SERVE_CONFIG} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise TargetRejectedError(f"{SERVE_CONFIG} is empty; expected a mapping with applications")
    return config


@contextmanager
def _translated() -> Iterator[None]:
    """Translate exceptions of the Kubernetes API to those of a rollout."""
    try:
        yield
    except _FINAL as error:
        raise TargetRejectedError(f"{error}; check --namespace, --name and --context") from error
    except KubeError as error:
        raise TargetError(str(error)) from error
