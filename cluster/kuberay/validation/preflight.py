"""Preflight check of a live cluster: what the manifests need there, and the command that installs it.

Without it, a missing part shows only after minutes: as a claim that stays Pending, as an Ingress without an
address, or as a RayService that the operator never processes.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cluster.errors import ForbiddenError
from cluster.kuberay.client.client import Document, KubeRay
from cluster.kuberay.client.resources import DEPLOYMENT, GATEWAY_CLASS, STORAGE_CLASS, ResourceKind
from cluster.kuberay.client.resources import INGRESS_CLASS as INGRESS_CLASS_KIND
from cluster.kuberay.manifests.ingress import INGRESS_CLASS
from cluster.kuberay.manifests.pod_monitor import API_VERSION as MONITORING_API
from cluster.kuberay.settings import INCREMENTAL, Environment

Version = tuple[int, ...]
KUBERAY, KARPENTER, BALANCERS = "kuberay-operator", "karpenter", "aws-load-balancer-controller"
"""Names of the add-ons in cluster/aws/addons.toml, and of their Deployments."""
SYSTEM = "kube-system"
GATEWAY_API = "gateway.networking.k8s.io/v1"
_GATE = "RayServiceIncrementalUpgrade"
_INSTALL = "python -m cluster aws addons"
_NEW_CLUSTER = "--set upgrade.type=NewCluster"


@dataclass(frozen=True, slots=True)
class AddonVersion:
    """Versions of an add-on: the tested one, and the earliest one that has what the manifests use."""

    tested: str
    minimum: str


@dataclass(frozen=True, slots=True)
class UnmetRequirement:
    """Unmet or unknown requirement of a cluster.

    Attributes:
        message: What is missing or unknown, with the found and the expected value.
        command: Command or option that resolves it.
        is_blocking: Whether the service cannot start; otherwise the finding is a warning.
    """

    message: str
    command: str
    is_blocking: bool = True

    def __str__(self) -> str:
        return f"{'missing' if self.is_blocking else 'warning'}: {self.message}; {self.command}"


def preflight(
    client: KubeRay, environment: Environment, versions: Mapping[str, AddonVersion]
) -> Sequence[UnmetRequirement]:
    """Return what the cluster lacks for an environment; empty if nothing is missing.

    Args:
        client: Client of the cluster.
        environment: Environment whose service is to run there.
        versions: Versions of the add-ons by name.

    Raises:
        KubeError: The API server does not respond, or rejects the credentials.
    """
    return list(_Preflight(client, environment, versions).findings())


@dataclass(frozen=True)
class _Preflight:
    client: KubeRay
    environment: Environment
    versions: Mapping[str, AddonVersion]

    def findings(self) -> Iterator[UnmetRequirement]:
        environment = self.environment
        yield from self._api("ray.io/v1", KUBERAY, environment.network.operator)
        if environment.nodes and environment.instance_types:
            yield from self._api("karpenter.sh/v1", KARPENTER, SYSTEM)
            if not self.client.serves("karpenter.k8s.aws/v1"):
                yield UnmetRequirement(
                    "the cluster does not serve karpenter.k8s.aws/v1 (EC2NodeClass)", _install()
                )
        redis = environment.redis
        if redis and redis.address is None:
            yield from self._storage(redis.storage_class)
        if environment.ingress:
            yield from self._class(INGRESS_CLASS_KIND, INGRESS_CLASS, _install())
            yield from self._version(BALANCERS, SYSTEM)
        if environment.pod_monitor and not self.client.serves(MONITORING_API):
            yield UnmetRequirement(
                f"the cluster does not serve {MONITORING_API} (PodMonitor)",
                "install the Prometheus operator, or omit pod_monitor",
            )
        if environment.upgrade.type == INCREMENTAL:
            yield from self._gateway(environment.upgrade.gateway_class or "")

    def _api(self, api_version: str, addon: str, namespace: str) -> Iterator[UnmetRequirement]:
        if self.client.serves(api_version):
            yield from self._version(addon, namespace)
        else:
            yield UnmetRequirement(
                f"the cluster does not serve {api_version}: {addon} is not installed", _install()
            )

    def _version(self, addon: str, namespace: str) -> Iterator[UnmetRequirement]:
        """Yield a finding if the add-on's Deployment does not run, or has an unsuitable version."""
        expected = self.versions[addon]
        deployment, unknown = self._read(DEPLOYMENT, namespace, addon)
        if unknown:
            yield unknown
        elif deployment is None:
            yield UnmetRequirement(
                f"Deployment {namespace}/{addon} does not exist, so that the version of {addon} is unknown "
                f"(tested: {expected.tested})",
                _install(),
                is_blocking=False,
            )
        else:
            yield from _compared(addon, _images(deployment), expected)

    def _storage(self, name: str | None) -> Iterator[UnmetRequirement]:
        if name is not None:
            yield from self._class(STORAGE_CLASS, name, _install())
            return
        found = self._allowed(lambda: self.client.find(STORAGE_CLASS, ""))
        default = "storageclass.kubernetes.io/is-default-class"
        if found is not None and not any(
            (one["metadata"].get("annotations") or {}).get(default) == "true" for one in found
        ):
            yield UnmetRequirement(
                "no StorageClass is the default: the disk of Redis waits for a volume that you create",
                "select a class: --set redis.storage_class=NAME (kubectl get storageclass)",
                is_blocking=False,
            )

    def _gateway(self, name: str) -> Iterator[UnmetRequirement]:
        if not self.client.serves(GATEWAY_API):
            yield UnmetRequirement(
                f"upgrade type {INCREMENTAL} needs the Gateway API, but {GATEWAY_API} is not served",
                f"install its CRDs and a Gateway controller (docs/cluster.md), or {_NEW_CLUSTER}",
            )
            return
        command = (
            f"install a Gateway controller with that class (kubectl get gatewayclass), or {_NEW_CLUSTER}"
        )
        yield from self._class(GATEWAY_CLASS, name, command)
        operator, _ = self._read(DEPLOYMENT, self.environment.network.operator, KUBERAY)
        if operator and f"{_GATE}=false" in str(operator["spec"]):
            yield UnmetRequirement(
                f"the feature gate {_GATE} of the KubeRay operator is off",
                f"turn it on in the values of its chart (featureGates), or {_NEW_CLUSTER}",
            )

    def _class(self, kind: ResourceKind, name: str, command: str) -> Iterator[UnmetRequirement]:
        found, unknown = self._read(kind, "", name)
        if unknown:
            yield unknown
        elif found is None:
            yield UnmetRequirement(f"{kind.name} {name} does not exist", command)

    def _read(
        self, kind: ResourceKind, namespace: str, name: str
    ) -> tuple[Document | None, UnmetRequirement | None]:
        """Return an object, or a warning if the credentials may not read it."""
        try:
            return self.client.get_or_none(kind, namespace, name), None
        except ForbiddenError as error:
            return None, UnmetRequirement(str(error), "check it as an administrator", is_blocking=False)

    def _allowed(self, call: Callable[[], list[Document]]) -> list[Document] | None:
        try:
            return call()
        except ForbiddenError:
            return None


def _install() -> str:
    return f"install the add-ons: {_INSTALL}"


def _images(deployment: Document) -> str:
    """Return the image of the Deployment's first container."""
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def _compared(addon: str, image: str, expected: AddonVersion) -> Iterator[UnmetRequirement]:
    found = re.search(r":v?(\d+\.\d+(?:\.\d+)?)", image)
    if found is None:
        yield UnmetRequirement(
            f"{addon}: the image {image} names no version (tested: {expected.tested})",
            "compare the versions",
            is_blocking=False,
        )
    elif _parsed(found[1]) < _parsed(expected.minimum):
        yield UnmetRequirement(
            f"{addon} has version {found[1]}, expected at least {expected.minimum}",
            f"upgrade it: {_INSTALL}",
        )
    elif _parsed(found[1])[:2] != _parsed(expected.tested)[:2]:
        yield UnmetRequirement(
            f"{addon} has version {found[1]}, which is not the tested {expected.tested}",
            f"install the tested one: {_INSTALL}",
            is_blocking=False,
        )


def _parsed(version: str) -> Version:
    return tuple(int(part) for part in version.split("."))
