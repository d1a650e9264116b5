"""Kinds of rendered objects, with their names in API paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.errors import UnknownKindError


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """Kind of object.

    Attributes:
        api_version: Such as "ray.io/v1"; "v1" is the core group.
        name: Such as "RayService".
        plural: Name in paths.
        namespaced: False for cluster-scoped objects.
        from_crd: Whether a CRD defines it; if the kind is unknown, the CRD is not installed.
    """

    api_version: str
    name: str
    plural: str
    namespaced: bool = True
    from_crd: bool = False

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of an object, or without a name the path of all objects."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        within = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


RAY_SERVICE = ResourceKind("ray.io/v1", "RayService", "rayservices", from_crd=True)
RAY_CLUSTER = ResourceKind("ray.io/v1", "RayCluster", "rayclusters", from_crd=True)
RAY_JOB = ResourceKind("ray.io/v1", "RayJob", "rayjobs", from_crd=True)
NAMESPACE = ResourceKind("v1", "Namespace", "namespaces", namespaced=False)
POD = ResourceKind("v1", "Pod", "pods")
EVENT = ResourceKind("v1", "Event", "events")
CLAIM = ResourceKind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNT = ResourceKind("v1", "ServiceAccount", "serviceaccounts")
CRD = ResourceKind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
STORAGE_CLASS = ResourceKind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
DEPLOYMENT = ResourceKind("apps/v1", "Deployment", "deployments")
INGRESS_CLASS = ResourceKind("networking.k8s.io/v1", "IngressClass", "ingressclasses", namespaced=False)
GATEWAY_CLASS = ResourceKind(
    "gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses", namespaced=False, from_crd=True
)
INGRESS = ResourceKind("networking.k8s.io/v1", "Ingress", "ingresses")
_ALL = (
    RAY_SERVICE,
    RAY_CLUSTER,
    RAY_JOB,
    NAMESPACE,
    POD,
    CRD,
    ResourceKind("v1", "Service", "services"),
    SERVICE_ACCOUNT,
    ResourceKind("apps/v1", "StatefulSet", "statefulsets"),
    ResourceKind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ResourceKind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    INGRESS,
    ResourceKind("gateway.networking.k8s.io/v1", "Gateway", "gateways", from_crd=True),
    ResourceKind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", from_crd=True),
    ResourceKind("karpenter.sh/v1", "NodePool", "nodepools", namespaced=False, from_crd=True),
    ResourceKind("karpenter.k8s.aws/v1", "EC2NodeClass", "ec2nodeclasses", namespaced=False, from_crd=True),
)
RAY_KINDS: Mapping[str, ResourceKind] = {
    kind.name.lower(): kind for kind in (RAY_SERVICE, RAY_CLUSTER, RAY_JOB)
}


def kind_of(document: Mapping[str, Any]) -> ResourceKind:
    """Return the kind of a manifest.

    Raises:
        UnknownKindError: The client does not support the kind.
    """
    for kind in _ALL:
        if (kind.api_version, kind.name) == (document.get("apiVersion"), document.get("kind")):
            return kind
    raise UnknownKindError(
        f"{document.get('kind')} of {document.get('apiVersion')} is not supported (expected one of "
        f"{', '.join(kind.name for kind in _ALL)}); apply it with kubectl"
    )
