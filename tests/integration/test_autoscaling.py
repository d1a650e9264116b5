"""Tests of the policy in a real Serve controller: it is loaded by path, receives the load, and is applied."""

from __future__ import annotations

import time

import httpx
import pytest
import yaml

from cluster.autoscaling.config import PolicyConfig
from cluster.kuberay.manifests.serve_config import scaling
from serve_app.app import DEPLOYMENT
from serve_app.dev_server.launcher import CONFIG, Plan, free_port, serving

pytestmark = pytest.mark.serve
PATIENCE_S = 60


def test_the_controller_asks_the_policy_and_the_replica_tells_it_the_load() -> None:
    # One request per minute is this pod's SLO: a few more require a second pod, for which there is no room.
    policy = scaling(PolicyConfig(requests_per_minute=1, up_window_s=0, step_s=0))
    quick = {"look_back_period_s": 5.0, "metrics_interval_s": 1.0}
    options = {"min_replicas": 1, "max_replicas": 2, **policy, **quick}
    (application,) = yaml.safe_load(CONFIG.read_text())["applications"]
    application["deployments"] = [{"name": DEPLOYMENT, "autoscaling_config": options}]
    plan = Plan(port=free_port(), dashboard_port=free_port(), config={"applications": [application]})
    with serving(plan, print), httpx.Client(timeout=PATIENCE_S) as client:

        def wanted() -> int:
            details = client.get(f"{plan.dashboard}/api/serve/applications/").json()
            pods: int = details["applications"]["sentiment"]["deployments"][DEPLOYMENT]["target_num_replicas"]
            return pods

        assert wanted() == 1
        deadline = time.monotonic() + PATIENCE_S
        while wanted() == 1:
            assert time.monotonic() < deadline
            client.post(f"{plan.url}/v1/classify", json={"inputs": "I love this"}).raise_for_status()
        assert wanted() == 2
