"""Karpenter's node class and node pool for GPU pods, as strict models of the used parts of its API.

`check` uses Karpenter's CRDs instead of these models if they are available.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, field_validator

from cluster.kuberay.manifests.labels import INSTANCE_LABEL
from cluster.kuberay.manifests.node_limits import peak
from cluster.kuberay.manifests.pods import GPU_TAINT
from cluster.kuberay.settings import Environment, NodeSettings

DISCOVERY_TAG = "karpenter.sh/discovery"
_EXPIRES_AFTER = "Never"
"""Karpenter ends expired nodes without a replacement and without respect to `budgets`, and nodes that started
together expire together. A changed or newer AMI replaces nodes too, one at a time and after their replacement
has started (drift)."""
_BOTTLEROCKET_ROOT_GIB = 4
"""Bottlerocket has the system on its first disk and images on the second (Karpenter's default sizes)."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Metadata(_Closed):
    name: StrictStr
    labels: dict[str, StrictStr] = {}
    annotations: dict[str, StrictStr] = {}


class _Requirement(_Closed):
    key: StrictStr
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[StrictStr] | None = None
    minValues: StrictInt | None = None


class _Taint(_Closed):
    key: StrictStr
    value: StrictStr | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class _NodeClassRef(_Closed):
    group: StrictStr
    kind: StrictStr
    name: StrictStr


class _TemplateSpec(_Closed):
    nodeClassRef: _NodeClassRef
    requirements: list[_Requirement]
    taints: list[_Taint] = []
    expireAfter: StrictStr | None = None
    terminationGracePeriod: StrictStr | None = None


class _TemplateMetadata(_Closed):
    labels: dict[str, StrictStr] = {}
    annotations: dict[str, StrictStr] = {}

    @field_validator("labels")
    @classmethod
    def _no_label_of_kubernetes(cls, labels: dict[str, str]) -> dict[str, str]:
        """Reject restricted domains, as a CEL rule of Karpenter's CRD, without its exceptions."""
        for key in labels:
            domain = key.partition("/")[0]
            if "/" in key and domain.endswith(
                ("kubernetes.io", "k8s.io", "karpenter.sh", "karpenter.k8s.aws")
            ):
                raise ValueError(f"{key!r} is not allowed as a node label: its domain is restricted")
        return labels


class _Template(_Closed):
    metadata: _TemplateMetadata = _TemplateMetadata()
    spec: _TemplateSpec


class _Budget(_Closed):
    nodes: StrictStr
    schedule: StrictStr | None = None
    duration: StrictStr | None = None
    reasons: list[Literal["Underutilized", "Empty", "Drifted"]] | None = None


class _Disruption(_Closed):
    consolidationPolicy: Literal["WhenEmpty", "WhenEmptyOrUnderutilized"]
    consolidateAfter: StrictStr
    budgets: list[_Budget] | None = None


class _NodePoolSpec(_Closed):
    template: _Template
    disruption: _Disruption
    limits: dict[str, StrictStr | StrictInt] = {}
    weight: Annotated[StrictInt, Field(ge=1, le=100)] | None = None


class NodePool(_Closed):
    """karpenter.sh/v1 NodePool."""

    apiVersion: Literal["karpenter.sh/v1"]
    kind: Literal["NodePool"]
    metadata: _Metadata
    spec: _NodePoolSpec


class _AmiTerm(_Closed):
    alias: StrictStr | None = None
    id: StrictStr | None = None


class _TagTerm(_Closed):
    tags: dict[str, StrictStr] | None = None
    id: StrictStr | None = None


class _Ebs(_Closed):
    volumeSize: StrictStr
    volumeType: StrictStr
    encrypted: StrictBool
    deleteOnTermination: StrictBool | None = None


class _BlockDevice(_Closed):
    deviceName: StrictStr
    ebs: _Ebs


class _MetadataOptions(_Closed):
    httpEndpoint: Literal["enabled", "disabled"]
    httpTokens: Literal["required", "optional"]
    httpPutResponseHopLimit: StrictInt


class _NodeClassSpec(_Closed):
    amiSelectorTerms: Annotated[list[_AmiTerm], Field(min_length=1)]
    role: StrictStr
    subnetSelectorTerms: Annotated[list[_TagTerm], Field(min_length=1)]
    securityGroupSelectorTerms: Annotated[list[_TagTerm], Field(min_length=1)]
    blockDeviceMappings: list[_BlockDevice] | None = None
    instanceStorePolicy: Literal["RAID0"] | None = None
    metadataOptions: _MetadataOptions | None = None
    tags: dict[str, StrictStr] = {}


class EC2NodeClass(_Closed):
    """karpenter.k8s.aws/v1 EC2NodeClass."""

    apiVersion: Literal["karpenter.k8s.aws/v1"]
    kind: Literal["EC2NodeClass"]
    metadata: _Metadata
    spec: _NodeClassSpec


MODELS: dict[tuple[str, str], type[BaseModel]] = {
    ("karpenter.sh/v1", "NodePool"): NodePool,
    ("karpenter.k8s.aws/v1", "EC2NodeClass"): EC2NodeClass,
}


def node_documents(environment: Environment) -> list[dict[str, Any]]:
    """Return class and pool of the GPU nodes; none without GPUs."""
    nodes = environment.nodes
    if nodes is None or not environment.instance_types:
        return []
    return [_node_class(environment, nodes), _node_pool(environment, nodes)]


def _node_class(environment: Environment, nodes: NodeSettings) -> dict[str, Any]:
    tag = [{"tags": {DISCOVERY_TAG: nodes.eks_cluster}}]
    return {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": _metadata(environment),
        "spec": {
            "amiSelectorTerms": [{"alias": nodes.ami}],
            "role": nodes.role,
            "subnetSelectorTerms": tag,
            "securityGroupSelectorTerms": tag,
            "blockDeviceMappings": _disks(nodes),
            **({"instanceStorePolicy": "RAID0"} if nodes.instance_store else {}),
            # A hop limit of 1 prevents pods from using the node's role; they have their own.
            "metadataOptions": {
                "httpEndpoint": "enabled",
                "httpTokens": "required",
                "httpPutResponseHopLimit": 1,
            },
        },
    }


def _disks(nodes: NodeSettings) -> list[dict[str, Any]]:
    """Return all disks of the AMI: one that is not listed is created as in its snapshot, not encrypted."""
    sizes_gib = {"/dev/xvda": nodes.disk_gib}
    if nodes.ami.startswith("bottlerocket@"):
        sizes_gib = {"/dev/xvda": _BOTTLEROCKET_ROOT_GIB, "/dev/xvdb": nodes.disk_gib}
    return [
        {
            "deviceName": device,
            "ebs": {
                "volumeSize": f"{size_gib}Gi",
                "volumeType": "gp3",
                "encrypted": True,
                "deleteOnTermination": True,
            },
        }
        for device, size_gib in sizes_gib.items()
    ]


def _node_pool(environment: Environment, nodes: NodeSettings) -> dict[str, Any]:
    requirements = [
        {
            "key": "node.kubernetes.io/instance-type",
            "operator": "In",
            "values": list(environment.instance_types),
        },
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(environment.capacity)},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
    ]
    if nodes.zones:
        zones = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": list(nodes.zones)}
        requirements.append(zones)
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": _metadata(environment),
        "spec": {
            "template": {
                "spec": {
                    "nodeClassRef": {
                        "group": "karpenter.k8s.aws",
                        "kind": "EC2NodeClass",
                        "name": _metadata(environment)["name"],
                    },
                    "requirements": requirements,
                    "taints": [{"key": GPU_TAINT, "effect": "NoSchedule"}],
                    "expireAfter": _EXPIRES_AFTER,
                },
            },
            "disruption": {
                "consolidationPolicy": "WhenEmpty",
                "consolidateAfter": f"{nodes.empty_s}s",
                # Without `reasons`, empty nodes too would be removed one at a time.
                "budgets": [
                    {"nodes": "100%", "reasons": ["Empty"]},
                    {"nodes": "1", "reasons": ["Drifted", "Underutilized"]},
                ],
            },
            # GPUs of all pods during an upgrade, which limits the cost of a malfunction.
            "limits": {GPU_TAINT: str(peak(environment, lambda kind: kind.gpus))},
        },
    }


def _metadata(environment: Environment) -> dict[str, Any]:
    """Return the metadata. Nodes have no namespace, so the name contains it."""
    return {"name": f"{environment.namespace}-gpu", "labels": {INSTANCE_LABEL: environment.name}}
