"""GPU nodes: capacity of instance types, and the pod size with which exactly one pod per GPU fits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import floor

MIB_PER_GIB = 1024

KARPENTER_MEMORY_OVERHEAD = 0.075
"""Fraction of an instance's memory that Karpenter subtracts before the node exists (its setting
VM_MEMORY_OVERHEAD_PERCENT, default 7.5 %). Kernel and hypervisor use less, so a pod that fits here fits the
node."""
EVICTION_MIB = 100
"""Free memory below which the kubelet evicts pods (hard eviction threshold memory.available of EKS's
images)."""
DAEMONS_MILLICORES = 1000
DAEMONS_MIB = 2 * MIB_PER_GIB
"""Reserved for the daemons of every node: aws-node, kube-proxy, the Pod Identity agent, CSI, logs,
metrics."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """EC2 instance type.

    Attributes:
        name: Name in EC2.
        vcpus: Number of vCPUs.
        memory_gib: Memory in GiB.
        gpus: Number of NVIDIA GPUs, one per pod.
        max_pods: Maximum number of pods with addresses of the AWS CNI: network interfaces x (addresses each -
            1) + 2.
    """

    name: str
    vcpus: int
    memory_gib: int
    gpus: int
    max_pods: int


_G5 = (
    InstanceType("g5.xlarge", 4, 16, 1, 58),
    InstanceType("g5.2xlarge", 8, 32, 1, 58),
    InstanceType("g5.4xlarge", 16, 64, 1, 234),
    InstanceType("g5.12xlarge", 48, 192, 4, 737),
)
INSTANCE_TYPES: Mapping[str, InstanceType] = {kind.name: kind for kind in _G5}
"""Source: EC2's tables of G5 instances (A10G, 24 GiB per GPU) and of addresses per network interface."""

CPU_TYPES: Mapping[str, InstanceType] = {
    kind.name: kind
    for kind in (
        InstanceType("c7i.large", 2, 4, 0, 29),
        InstanceType("c7i.xlarge", 4, 8, 0, 58),
        InstanceType("c7i.2xlarge", 8, 16, 0, 58),
        InstanceType("m6i.xlarge", 4, 16, 0, 58),
    )
}
"""Instance types without a GPU. Source: EC2's tables of C7i (with AMX) and M6i instances."""


@dataclass(frozen=True, slots=True)
class Share:
    """Resource requests of one pod, in integers because Ray counts CPUs in integers."""

    cpus: int
    memory_gib: int


def allocatable(kind: InstanceType) -> tuple[int, int]:
    """Return the millicores and MiB of a node that are available to the service's pods.

    Subtracted are the kubelet's reservation (formulas of EKS's images: 6 % of the first core, 1 % of the
    second, 0.5 % of the next two, 0.25 % of the rest; 255 MiB plus 11 MiB per possible pod), the eviction
    threshold, and the reservation for daemons.
    """
    cores = kind.vcpus
    kubelet_millicores = 60 + 10 * (cores > 1) + 5 * max(0, min(cores, 4) - 2) + 2.5 * max(0, cores - 4)
    kubelet_mib = 255 + 11 * kind.max_pods
    memory_mib = kind.memory_gib * MIB_PER_GIB * (1 - KARPENTER_MEMORY_OVERHEAD)
    return (
        floor(cores * 1000 - kubelet_millicores - DAEMONS_MILLICORES),
        floor(memory_mib - kubelet_mib - EVICTION_MIB - DAEMONS_MIB),
    )


def share(kind: InstanceType) -> Share:
    """Return the largest pod size with which one pod per GPU fits on a node."""
    millicores, mib = allocatable(kind)
    return Share(cpus=millicores // kind.gpus // 1000, memory_gib=mib // kind.gpus // MIB_PER_GIB)


def smallest(shares: Iterable[Share]) -> Share:
    """Return the minimum of the shares in each resource."""
    sizes = tuple(shares)
    return Share(min(size.cpus for size in sizes), min(size.memory_gib for size in sizes))
