"""The policy in a real Serve controller: taken by its path, fed by the replica, and followed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cluster.autoscaling.aims import Aims
from cluster.kuberay.serve_config import scaling
from serve_app.app import DEPLOYMENT
from tests.conftest import Service

pytestmark = pytest.mark.ray
PATIENCE_S = 60


@pytest.fixture
def serve(service: Service) -> Iterator[httpx.Client]:
    """Serve's API; the deployment has its fixed number of replicas again afterwards."""
    with httpx.Client(base_url=f"{service.dashboard}/api/serve", timeout=PATIENCE_S) as client:
        before = applications(client)["sentiment"]["deployed_app_config"]
        yield client
        client.put("/applications/", json={"applications": [before]}).raise_for_status()
        wait_for(client, pods=1, status="RUNNING")


def applications(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/applications/").json()["applications"]
    return found


def wait_for(client: httpx.Client, *, pods: int, status: str = "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        application = applications(client)["sentiment"]
        deployment = application["deployments"][DEPLOYMENT]
        if deployment["target_num_replicas"] == pods and status in application["status"]:
            return
        assert time.monotonic() < deadline, (application["status"], deployment)
        time.sleep(0.2)


def test_the_controller_asks_the_policy_and_the_replica_tells_it_the_load(
    service: Service, serve: httpx.Client
) -> None:
    config = applications(serve)["sentiment"]["deployed_app_config"]
    # One request a minute is this pod's promise, so a few ask for a second pod, for which there is no room.
    aims = Aims(requests_per_minute=1, up_window_s=0, step_s=0)
    fast = {**scaling(aims), "look_back_period_s": 5.0, "metrics_interval_s": 1.0}
    config["deployments"] = [
        {"name": DEPLOYMENT, "autoscaling_config": {"min_replicas": 1, "max_replicas": 2, **fast}}
    ]
    serve.put("/applications/", json={"applications": [config]}).raise_for_status()
    wait_for(serve, pods=1)
    with httpx.Client(timeout=PATIENCE_S) as client:
        deadline = time.monotonic() + PATIENCE_S
        while applications(serve)["sentiment"]["deployments"][DEPLOYMENT]["target_num_replicas"] != 2:
            assert time.monotonic() < deadline
            answer = client.post(f"{service.url}/v1/classify", json={"inputs": "I love this cream"})
            assert answer.status_code == 200
