"""Test of the suite's own fixtures: namespace, CLI and client see the same cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.kuberay.client.resources import RAY_SERVICE
from tests.operator.cluster import Cluster


def test_an_apply_reaches_the_cluster_that_the_client_reads(
    cluster: Cluster, namespace: str, environment: Callable[..., list[str]], run_cluster: Callable[..., Any]
) -> None:
    dry = run_cluster("apply", *environment(), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "RayService sentiment would be applied" in dry.stdout
    assert cluster.client().find(RAY_SERVICE, namespace) == []
