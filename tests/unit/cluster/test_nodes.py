"""Tests that one pod per GPU fits on a node next to the system's own share, and one more does not."""

import pytest

from cluster.nodes import (
    DAEMONS_MIB,
    DAEMONS_MILLICORES,
    INSTANCE_TYPES,
    MIB_PER_GIB,
    Share,
    allocatable,
    share,
)


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
