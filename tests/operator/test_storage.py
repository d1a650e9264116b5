"""Test of the disk of Redis on a real API server: the claim selects the StorageClass that the add-ons create.

A PersistentVolume of that class replaces the EBS driver.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cluster.aws.addons import storage_class
from tests.operator.cluster import Cluster
from tests.operator.service import NAME, make_secrets

_BOUND_S = 120
_UNSCHEDULABLE = 999


@pytest.fixture
def disk_class(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Yield the name of a StorageClass with one volume, which no provisioner creates."""
    name = f"{namespace}-gp3"
    manual = {**storage_class(name), "provisioner": "kubernetes.io/no-provisioner", "parameters": {}}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": name,
            "capacity": {"storage": "8Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/var/lib/{name}"},
        },
    }
    for document in (manual, volume):
        cluster.kubectl("create", "--filename=-", input=json.dumps(document))
    yield name
    cluster.kubectl("delete", "persistentvolume,storageclass", name, "--wait=false")


def test_redis_gets_the_disk_of_its_class_and_starts(
    cluster: Cluster,
    namespace: str,
    disk_class: str,
    environment: Callable[..., list[str]],
    run_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> None:
    if cluster.has_own_kubelet and shutil.which("redis-server") is None:
        pytest.skip("redis-server is missing, which the pod of Redis runs: install the package redis-server")
    make_secrets(cluster, namespace)
    settings = {"redis__secret": "redis-password", "head__cpus": _UNSCHEDULABLE}
    refused = run_cluster("apply", *environment(**settings, redis__storage_class="none-such"))
    assert refused.returncode == 1 and "StorageClass none-such does not exist" in refused.stderr
    done = run_cluster("apply", *environment(**settings, redis__storage_class=disk_class))
    assert done.returncode == 0, done.stderr

    def is_up() -> bool:
        claim = cluster.get("--namespace", namespace, "persistentvolumeclaim", f"data-{NAME}-redis-0")
        redis = cluster.get("--namespace", namespace, "statefulset", f"{NAME}-redis")
        bound = claim["status"].get("phase") == "Bound" and claim["spec"]["volumeName"] == disk_class
        return bound and redis["status"].get("readyReplicas") == 1

    wait_until(is_up, _BOUND_S, "Redis is ready, with the volume of its class")
