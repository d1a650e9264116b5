"""Kinds of rendered objects, with their names in API paths."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.errors import UnknownKindError


@dataclass(frozen=True, slots=True)
class Kind:
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


RAY_SERVICE = Kind("ray.io/v1", "RayService", "rayservices", from_crd=True)
RAY_CLUSTER = Kind("ray.io/v1", "RayCluster", "rayclusters", from_crd=True)
RAY_JOB = Kind("ray.io/v1", "RayJob", "rayjobs", from_crd=True)
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CRD = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
STORAGE_CLASS = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses", namespaced=False)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
INGRESS_CLASS = Kind("networking.k8s.io/v1", "IngressClass", "ingressclasses", namespaced=False)
GATEWAY_CLASS = Kind(
    "gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses", namespaced=False, from_crd=True
)
INGRESS = Kind("networking.k8s.io/v1", "Ingress", "ingresses")
_ALL = (
    RAY_SERVICE,
    RAY_CLUSTER,
    RAY_JOB,
    NAMESPACE,
    POD,
    CRD,
    Kind("v1", "Service", "services"),
    SERVICE_ACCOUNT,
    Kind("apps/v1", "StatefulSet", "statefulsets"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    INGRESS,
    Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways", from_crd=True),
    Kind("karpenter.sh/v1", "NodePool", "nodepools", namespaced=False, from_crd=True),
    Kind("karpenter.k8s.aws/v1", "EC2NodeClass", "ec2nodeclasses", namespaced=False, from_crd=True),
)
RAY_KINDS: Mapping[str, Kind] = {kind.name.lower(): kind for kind in (RAY_SERVICE, RAY_CLUSTER, RAY_JOB)}


def kind_of(document: Mapping[str, Any]) -> Kind:
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
