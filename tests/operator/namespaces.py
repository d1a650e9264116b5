"""Namespaces of single tests: created new, and deleted in an order that leaves no objects behind."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from tests.operator.cluster import ROOT, Cluster, wait_until

RAY_KINDS = "rayservices.ray.io,rayjobs.ray.io,rayclusters.ray.io"
_GONE_S = 120


@contextmanager
def fresh_namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace whose name begins with the checkout's folder; it is removed at the end."""
    prefix = re.sub(r"[^a-z0-9]+", "-", ROOT.name.lower()).strip("-")[:30] or "test"
    name = f"{prefix}-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    try:
        yield name
    finally:
        remove_namespace(cluster, name)


def remove_namespace(cluster: Cluster, name: str) -> None:
    """Delete the Ray objects and wait for their finalizers, then the namespace and everything else in it."""
    if not cluster.kubectl("get", "namespace", name, "--ignore-not-found", "--output=name"):
        return
    cluster.kubectl("--namespace", name, "delete", RAY_KINDS, "--all", "--wait=false")

    def without_ray_objects() -> bool:
        # A Ray pod's grace period is minutes; the requests of a completed test need no grace period.
        _end_pods(cluster, name, "ray.io/cluster")
        return not cluster.get(RAY_KINDS, "--namespace", name)["items"]

    wait_until(without_ray_objects, _GONE_S, f"no Ray object is left in namespace {name}")
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    if cluster.has_own_kubelet:
        return  # the cluster itself ends with the tests

    def is_gone() -> bool:
        if not cluster.kubectl("get", "namespace", name, "--ignore-not-found", "--output=name"):
            return True
        _end_pods(cluster, name, "")
        return False

    wait_until(is_gone, _GONE_S, f"namespace {name} is gone")


def _end_pods(cluster: Cluster, namespace: str, selector: str) -> None:
    chosen = ["--selector", selector] if selector else ["--all"]
    now = ["--grace-period=0", "--force", "--wait=false", "--ignore-not-found"]
    cluster.kubectl("--namespace", namespace, "delete", "pods", *chosen, *now)
