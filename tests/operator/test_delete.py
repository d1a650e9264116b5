"""Tests that `delete --all` leaves nothing, in an order in which the operator's clean-up can work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.operator.cluster import Cluster
from tests.operator.service import make_disk, make_secrets

GONE_S = 120
LEFT = (
    "rayservices,rayjobs,rayclusters,pods,jobs,services,statefulsets,persistentvolumeclaims,networkpolicies,"
    "poddisruptionbudgets,roles,rolebindings"
)


@pytest.fixture
def disk(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Create a volume for Redis, and the Secrets."""
    make_secrets(cluster, namespace)
    volume = make_disk(cluster, namespace)
    yield
    if volume:
        cluster.kubectl("delete", "persistentvolume", volume, "--wait=false")


def left(cluster: Cluster, namespace: str) -> list[str]:
    """Return everything in the namespace except what every namespace has, and the Secrets of the test."""
    accounts = cluster.kubectl("--namespace", namespace, "get", "serviceaccounts", "--output=name").split()
    found = cluster.kubectl("--namespace", namespace, "get", LEFT, "--output=name").split()
    return found + [name for name in accounts if name != "serviceaccount/default"]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param(True, id="of a service that runs"),
        pytest.param(False, id="of pods that never started", marks=pytest.mark.long),
    ],
)
def test_with_redis_nothing_is_left(
    cluster: Cluster,
    namespace: str,
    environment: Callable[..., list[str]],
    run_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
    disk: None,
    runs: bool,
) -> None:
    pending = {} if runs else {"head__cpus": 999, "workers__0__cpus": 999}
    options = environment(redis__secret="redis-password", training__workers__cpus=999, **pending)
    assert run_cluster("apply", *options).returncode == 0
    if runs:
        ready = run_cluster("wait", *options, "--timeout", "240", timeout_s=300)
        assert ready.returncode == 0, ready.stdout + ready.stderr
    redis = ("--namespace", namespace, "statefulset", "sentiment-redis")
    wait_until(lambda: cluster.get(*redis)["status"].get("readyReplicas"), 60, "Redis is ready")
    assert run_cluster("apply", *options, "--training").returncode == 0

    began = time.monotonic()
    deleted = run_cluster("delete", *options, "--all", timeout_s=360)
    took_s = time.monotonic() - began
    assert deleted.returncode == 0, deleted.stdout + deleted.stderr
    lines = deleted.stdout.splitlines()
    waits = [number for number, line in enumerate(lines) if line.startswith("waiting for ")]
    assert waits and lines.index("StatefulSet sentiment-redis deleted") > waits[-1]
    assert "RayJob sentiment-train deleted" in lines
    while names := left(cluster, namespace):
        assert time.monotonic() - began < GONE_S, (
            f"left after {GONE_S} s, delete took {took_s:.0f} s: {names}"
        )
        time.sleep(0.5)
    events = cluster.get("--namespace", namespace, "events")["items"]
    assert not [one["message"] for one in events if "looking up service account" in one["message"]]


def test_what_is_left_is_said_and_the_rest_stays(
    cluster: Cluster,
    namespace: str,
    environment: Callable[..., list[str]],
    run_cluster: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> None:
    options = environment(head__cpus=999, workers__0__cpus=999)
    assert run_cluster("apply", *options).returncode == 0

    def finalizers() -> list[str]:
        service = cluster.get("--namespace", namespace, "rayservice", "sentiment")
        found: list[str] = service["metadata"].get("finalizers") or []
        return found

    wait_until(finalizers, 30, "the operator has added its finalizer")
    hold = json.dumps({"metadata": {"finalizers": [*finalizers(), "tests.example/held"]}})
    change = ("--namespace", namespace, "patch", "rayservice", "sentiment", "--type=merge", "--patch")
    cluster.kubectl(*change, hold)
    try:
        held = run_cluster("delete", *options, "--all", "--timeout", "3")
        assert held.returncode == 1
        assert "RayService sentiment by" in held.stderr and "tests.example/held" in held.stderr
        assert "serviceaccount/sentiment" in left(cluster, namespace), "clean-up may need it"
    finally:
        cluster.kubectl(*change, json.dumps({"metadata": {"finalizers": None}}))
    again = run_cluster("delete", *options, "--all")
    assert again.returncode == 0, again.stderr
    wait_until(lambda: not left(cluster, namespace), 60, "nothing is left")


def test_a_training_goes_alone(
    cluster: Cluster,
    namespace: str,
    environment: Callable[..., list[str]],
    run_cluster: Callable[..., Any],
) -> None:
    options = environment(head__cpus=999, workers__0__cpus=999, training__workers__cpus=999)
    assert run_cluster("apply", *options).returncode == 0
    assert run_cluster("apply", *options, "--training").returncode == 0
    deleted = run_cluster("delete", *options, "--training", "--all")
    assert deleted.returncode == 0, deleted.stderr
    names = left(cluster, namespace)
    assert not [name for name in names if "training" in name or "sentiment-train" in name]
    assert {"rayservice.ray.io/sentiment", "serviceaccount/sentiment"} <= {*names}
