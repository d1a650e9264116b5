"""Reader of a Ray object and its related objects, for the diagnosis of why it is not ready."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.errors import ForbiddenError, KubeError
from cluster.kuberay.client.resources import CLAIM, EVENT, POD, RAY_CLUSTER, SERVICE_ACCOUNT, ResourceKind
from cluster.kuberay.client.status import cluster_names
from cluster.kuberay.diagnosis.causes import GATEWAY_API, INCREMENTAL, RelatedObjects
from cluster.kuberay.diagnosis.pod_causes import ended_containers
from cluster.kuberay.manifests.labels import INSTANCE_LABEL

if TYPE_CHECKING:
    from cluster.kuberay.client.client import Document, KubeRay

_LOG_LINES = 40
"""Enough for a traceback with its exception at the end."""


def read_related_objects(client: KubeRay, document: Document) -> RelatedObjects:
    """Read the objects for the diagnosis; omit and list resources that the caller may not read.

    Raises:
        KubeError: The API server does not answer; see `cluster.errors`.
    """
    return _Reader(client, document).read()


class _Reader:
    def __init__(self, client: KubeRay, document: Document) -> None:
        self._client = client
        self._document = document
        self._namespace = document["metadata"].get("namespace", "")
        self._unread: dict[str, None] = {}

    def read(self) -> RelatedObjects:
        clusters = [
            found for name in cluster_names(self._document) if (found := self._get(RAY_CLUSTER, name))
        ]
        selectors = [f"ray.io/cluster={cluster['metadata']['name']}" for cluster in clusters]
        if redis := _own_redis(self._cluster_spec()):
            selectors.append(f"{INSTANCE_LABEL}={redis}")
        pods = [pod for selector in selectors for pod in self._find(POD, selector)]
        has_claims = any(
            "persistentVolumeClaim" in one for pod in pods for one in pod["spec"].get("volumes") or []
        )
        return RelatedObjects(
            self._document,
            clusters=clusters,
            pods=pods,
            claims=self._find(CLAIM) if has_claims else [],
            events=self._find(EVENT),
            absent=self._absent(),
            last_lines=self._last_lines(pods),
            unread=tuple(self._unread),
        )

    def _cluster_spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = self._document.get("spec") or {}
        return spec.get("rayClusterConfig") or spec.get("rayClusterSpec") or spec

    def _absent(self) -> list[str]:
        """Return required objects that do not exist; Secrets are not read."""
        absent = []
        spec = self._cluster_spec()
        groups = [spec.get("headGroupSpec") or {}, *(spec.get("workerGroupSpecs") or [])]
        pods = [(group.get("template") or {}).get("spec") or {} for group in groups]
        accounts = dict.fromkeys(pod["serviceAccountName"] for pod in pods if pod.get("serviceAccountName"))
        for account in accounts:
            if self._get(SERVICE_ACCOUNT, account) is None and SERVICE_ACCOUNT.plural not in self._unread:
                absent.append(f"{SERVICE_ACCOUNT.name} {account}")
        upgrade = (self._document.get("spec") or {}).get("upgradeStrategy") or {}
        if upgrade.get("type") == INCREMENTAL and not self._client.serves(GATEWAY_API):
            absent.append(GATEWAY_API)
        return absent

    def _last_lines(self, pods: list[Document]) -> dict[tuple[str, str], str]:
        """Return the end of the log of each container that ended with an error, if the log still exists."""
        logs = {}
        for pod in pods:
            name = pod["metadata"]["name"]
            for container, is_restarted in ended_containers(pod):
                try:
                    logs[name, container] = self._client.logs(
                        self._namespace, name, container, _LOG_LINES, previous=is_restarted
                    )
                except ForbiddenError:
                    self._unread["pods/log"] = None
                except KubeError:
                    continue  # the pod's node or the log no longer exists
        return logs

    def _get(self, kind: ResourceKind, name: str) -> Document | None:
        try:
            return self._client.get_or_none(kind, self._namespace, name)
        except ForbiddenError:
            self._unread[kind.plural] = None
            return None

    def _find(self, kind: ResourceKind, selector: str = "") -> list[Document]:
        try:
            return self._client.find(kind, self._namespace, selector)
        except ForbiddenError:
            self._unread[kind.plural] = None
            return []


def _own_redis(spec: Mapping[str, Any]) -> str:
    """Return the name of the Redis in the namespace, which labels its pods; empty if there is none."""
    address = str((spec.get("gcsFaultToleranceOptions") or {}).get("redisAddress") or "")
    host = address.rpartition(":")[0]
    return "" if "." in host else host
