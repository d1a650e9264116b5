"""The policy in a real Serve controller: taken by its path, fed by the replica, and followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cluster.autoscaling.aims import Aims
from cluster.kuberay.serve_config import scaling
from cluster.rollout.serve_target import ServeTarget
from serve_app.app import DEPLOYMENT
from tests.conftest import Service

pytestmark = pytest.mark.ray
PATIENCE_S = 60
API = "/api/serve/applications/"


@pytest.fixture
def serve(service: Service) -> Iterator[httpx.Client]:
    """Serve's API; what was configured is so again afterwards, one replica."""
    with httpx.Client(base_url=service.dashboard, timeout=PATIENCE_S) as client:
        before = read(client)
        yield client
        configured = [application["deployed_app_config"] for application in before["applications"].values()]
        told = {key: before[key] for key in ("proxy_location", "http_options")}
        client.put(API, json={**told, "applications": configured}).raise_for_status()
        until(
            lambda: wanted(client) == 1 and read(client)["applications"]["sentiment"]["status"] == "RUNNING"
        )


def read(client: httpx.Client) -> dict[str, Any]:
    details: dict[str, Any] = client.get(API).json()
    return details


def wanted(client: httpx.Client) -> int | None:
    """Replicas that there are to be; None for a moment after a change, when Serve shows no deployment."""
    deployments = read(client)["applications"]["sentiment"]["deployments"]
    pods: int | None = deployments.get(DEPLOYMENT, {}).get("target_num_replicas")
    return pods


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_controller_asks_the_policy_and_the_replica_tells_it_the_load(
    service: Service, serve: httpx.Client
) -> None:
    # One request a minute is this pod's promise: a few ask for a second pod, for which there is no room.
    policy = scaling(Aims(requests_per_minute=1, up_window_s=0, step_s=0))
    quick = {"look_back_period_s": 5.0, "metrics_interval_s": 1.0}
    options = {"min_replicas": 1, "max_replicas": 2, **policy, **quick}
    ServeTarget(service.dashboard, client=serve)._change({"autoscaling_config": options})

    def asked_for_more() -> bool:
        answer = httpx.post(f"{service.url}/v1/classify", json={"inputs": "I love this"}, timeout=PATIENCE_S)
        assert answer.status_code == 200
        return wanted(serve) == 2

    assert wanted(serve) in (1, None)
    until(asked_for_more)
