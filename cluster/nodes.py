"""GPU nodes: what an instance type holds, and what a pod may ask for so that one pod a GPU fits, no more."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import floor

MIB_PER_GIB = 1024

KARPENTER_MEMORY_OVERHEAD = 0.075
"""Share of an instance's memory that Karpenter takes off before it knows the node (its setting
VM_MEMORY_OVERHEAD_PERCENT, default 7.5 %). Kernel and hypervisor keep less: what fits this fits the node."""
EVICTION_MIB = 100
"""Below this the kubelet evicts (hard eviction threshold memory.available of EKS's images)."""
DAEMONS_MILLICORES = 1000
DAEMONS_MIB = 2 * MIB_PER_GIB
"""Kept for what runs on every node: aws-node, kube-proxy, the Pod Identity agent, CSI, logs, metrics."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One EC2 instance type.

    Attributes:
        name: as EC2 names it.
        vcpus: of the instance.
        memory_gib: of the instance.
        gpus: NVIDIA GPUs; each is one pod.
        max_pods: that the AWS CNI gives addresses to: network interfaces x (addresses each - 1) + 2.
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
"""EC2's table of G5 instances (A10G, 24 GiB a GPU) and its table of addresses a network interface."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one pod asks for: whole CPUs and GiB, since Ray counts CPUs in whole numbers."""

    cpus: int
    memory_gib: int


def allocatable(kind: InstanceType) -> tuple[int, int]:
    """Millicores and MiB that pods of ours can have on a node.

    Off come what the kubelet keeps for itself (the formulas of EKS's own images: 6 % of the first core, 1 %
    of the second, 0.5 % of the next two, 0.25 % of the rest; 255 MiB and 11 MiB a possible pod), the
    eviction threshold, and what runs on every node.
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
    """The largest equal share of a node with which one pod a GPU fits; one more would not."""
    millicores, mib = allocatable(kind)
    return Share(cpus=millicores // kind.gpus // 1000, memory_gib=mib // kind.gpus // MIB_PER_GIB)


def smallest(shares: Iterable[Share]) -> Share:
    """What every one of the shares has at least."""
    sizes = tuple(shares)
    return Share(min(size.cpus for size in sizes), min(size.memory_gib for size in sizes))
