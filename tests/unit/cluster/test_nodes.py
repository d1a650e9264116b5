"""Tests that one pod per GPU fits on a node next to the system's own share, and one more does not."""

import re

import pytest

from cluster.kuberay.manifests.render import service_documents, training_documents
from cluster.kuberay.settings import read_environment
from cluster.nodes import (
    DAEMONS_MIB,
    DAEMONS_MILLICORES,
    INSTANCE_TYPES,
    MIB_PER_GIB,
    InstanceType,
    Share,
    allocatable,
    share,
)
from tests.conftest import ROOT

M6I_XLARGE = InstanceType("m6i.xlarge", vcpus=4, memory_gib=16, gpus=0, max_pods=58)
SYSTEM = (
    *[("coredns", 100, 70), ("metrics-server", 100, 200), ("ebs-csi-controller", 60, 240)] * 2,
    *[("aws-load-balancer-controller", 100, 200), ("karpenter", 250, 512)] * 2,
    ("kuberay-operator", 100, 512),
    ("redis", 100, 768),
)
"""Pods of the core nodes with their millicores and MiB; daemons are subtracted from the nodes. These are
estimates after the defaults of charts and add-ons, of which some request nothing."""


@pytest.mark.parametrize("name", INSTANCE_TYPES)
def test_as_many_pods_fit_as_there_are_gpus_and_no_more(name: str) -> None:
    kind = INSTANCE_TYPES[name]
    millicores, mib = allocatable(kind)
    pod = share(kind)
    fit = min(millicores // (pod.cpus * 1000), mib // (pod.memory_gib * MIB_PER_GIB))
    assert fit == kind.gpus
    # The CPUs alone also limit the number: a pod without a GPU request would not fit as a fifth.
    assert millicores // (pod.cpus * 1000) == kind.gpus


def test_the_shares_are_the_ones_worked_out_by_hand() -> None:
    # 48 cores: kubelet 60 + 10 + 10 + 44 * 2.5 = 190 m, daemons 1000 m; 46,810 m remain, a quarter is 11.7.
    # 192 GiB minus 7.5 % = 181,862.4 MiB, minus 255 + 11 * 737, 100 and 2,048: 171,352; a quarter is 41.8 GiB
    assert allocatable(INSTANCE_TYPES["g5.12xlarge"]) == (46_810, 171_352)
    assert share(INSTANCE_TYPES["g5.12xlarge"]) == Share(cpus=11, memory_gib=41)
    # 16 cores: 60 + 10 + 10 + 12 * 2.5 = 110 m. 64 GiB: 60,620.8 - (255 + 11 * 234) - 100 - 2,048 = 55,643
    assert allocatable(INSTANCE_TYPES["g5.4xlarge"]) == (14_890, 55_643)
    assert share(INSTANCE_TYPES["g5.4xlarge"]) == Share(cpus=14, memory_gib=54)
    assert (DAEMONS_MILLICORES, DAEMONS_MIB) == (1000, 2048)


def requests(pod: dict[str, object]) -> tuple[int, int]:
    """Return the millicores and MiB that a pod of a manifest requests."""
    containers = pod["spec"]["containers"]  # type: ignore[index]
    cores = [one["resources"]["requests"]["cpu"] for one in containers]
    memory = [one["resources"]["requests"]["memory"] for one in containers]
    millicores = [int(one[:-1]) if one.endswith("m") else 1000 * int(one) for one in cores]
    return sum(millicores), sum(int(one[:-2]) * (MIB_PER_GIB if one.endswith("Gi") else 1) for one in memory)


def heads() -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the requests of the service's head with its autoscaler, and of the training's head."""
    environment = read_environment("prod")
    cluster = service_documents(environment)[-1]["spec"]["rayClusterConfig"]
    training = training_documents(environment)[-1]["spec"]["rayClusterSpec"]
    autoscaler = {"spec": {"containers": [cluster["autoscalerOptions"]]}}
    serving, scaling = requests(cluster["headGroupSpec"]["template"]), requests(autoscaler)
    return (
        (serving[0] + scaling[0], serving[1] + scaling[1]),
        requests(training["headGroupSpec"]["template"]),
    )


def hold(nodes: int) -> bool:
    """Return whether core nodes hold the heads of a service, of its upgrade and of a training.

    The other pods were there first, and the scheduler has distributed them to the emptiest nodes.
    """
    free = [list(allocatable(M6I_XLARGE)) for _ in range(nodes)]
    serving, training = heads()
    system = [(cores, memory) for _, cores, memory in SYSTEM]
    for cores, memory in (*system, serving, serving, training):
        node = max(free, key=lambda one: one[0])
        node[0] -= cores
        node[1] -= memory
    return all(amount >= 0 for node in free for amount in node)


def test_the_core_nodes_hold_the_heads_of_an_upgrade_and_a_training() -> None:
    # 4 cores: kubelet 60 + 10 + 10 = 80 m. 16 GiB: 15,155.2 - (255 + 11 * 58) - 100 - 2,048 = 12,114
    assert allocatable(M6I_XLARGE) == (2920, 12_114)
    # The head has 2 CPUs and 8 GiB, and the autoscaler of a service 200 m and 512 MiB more.
    assert heads() == ((2200, 8704), (2000, 8192))
    text = (ROOT / "cluster" / "aws" / "terraform" / "variables.tf").read_text(encoding="utf-8")
    block = text.partition('variable "core_nodes"')[2].partition("\nvariable ")[0]
    kind, count = re.findall(r'optional\(\w+, "?([\w.]+)"?\)', block)
    assert kind == M6I_XLARGE.name and hold(int(count))
    assert not hold(int(count) - 1)
