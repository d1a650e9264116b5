"""Tests of one service through upgrades, failures and rollouts under steady traffic: no request fails.

The tests depend on each other, in this order: the service of the first is upgraded, broken, scaled and gets
other models.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kuberay.manifests.pods import HAPROXY
from examples.canary_rollout.models import version_of_builtin
from tests.operator.ci_rbac import GROUP, deployers_kubeconfig
from tests.operator.cluster import Cluster, wait_until
from tests.operator.conftest import environment_options
from tests.operator.namespaces import fresh_namespace
from tests.operator.service import KEY, NAME, OTHER_KEY, Service, make_disk, make_secrets
from tests.operator.traffic import Traffic, post, ready_endpoints

_REQUESTS_PER_MINUTE = 360
_BASE, _HIGH = 10, 21
"""Requests per second for which 2 and 4 pods are computed, more than 5 % away from any other number."""
_REDIS = shutil.which("redis-server")
_PLAN = """
stages = [{ pods = 1 }]
window_s = 10
settle_s = 10
min_requests = 40
min_windows = 2
max_stage_s = 150
apply_timeout_s = 120
[tolerances]
latency_factor = 20
"""
_HEAD_BACK_S = 30
_ENDPOINT_LEAVES_S = 15


@pytest.fixture(scope="module")
def service(cluster: Cluster) -> Iterator[Service]:
    """Yield a service of two pods, with its head's state in Redis."""
    if cluster.has_own_kubelet and _REDIS is None:
        pytest.skip("redis-server is missing, which the pod of Redis runs: install the package redis-server")
    with fresh_namespace(cluster) as namespace:
        make_secrets(cluster, namespace)
        disk = make_disk(cluster, namespace)
        options = environment_options(
            cluster,
            namespace,
            serve__min_pods=2,
            serve__max_pods=4,
            serve__scaling__requests_per_minute=_REQUESTS_PER_MINUTE,
            serve__scaling__down_window_s=30,
            workers__0__min_pods=2,
            redis__secret="redis-password",
            environment__RAY_metrics_report_interval_ms="'1000'",
            # Clusters start on the two cores that also serve: requests may wait meanwhile, so that none is
            # refused.
            environment__SENTIMENT_MAX_QUEUE_WAIT_S="'10'",
        )
        found = Service(cluster, namespace, options)
        yield found
        print("seconds:", found.timings)
    if disk:
        cluster.kubectl("delete", "persistentvolume", disk)


def test_a_new_service_is_ready_and_its_pods_run_this_haproxy(service: Service) -> None:
    began = time.monotonic()
    service.apply()
    said = service.wait().stdout
    service.timings["ready"] = time.monotonic() - began
    assert "running" in said
    service.settle(2)
    cluster, namespace = service.cluster, service.namespace
    script = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done; cat /tmp/ray/haproxy*/*.cfg"
    [container] = service.workers()[0]["spec"]["containers"]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    pod = service.workers()[0]["metadata"]["name"]
    seen = cluster.execute(namespace, pod, container["name"], "sh", "-c", script)
    assert "haproxy" in seen and "-db -f" in seen
    assert variables["RAY_SERVE_HAPROXY_BINARY_PATH"] == HAPROXY or not cluster.has_container_runtime()
    assert "serve_app/haproxy" in seen, "the standby of this checkout runs next to HAProxy"


def test_the_logs_of_every_container_are_printed(service: Service) -> None:
    done = service.cluster.run("logs", *service.options, "--lines", "5")
    assert done.returncode == 0, done.stderr
    pods = service.heads() + service.workers()
    for pod in pods:
        for container in pod["spec"]["containers"]:
            assert f"==> {pod['metadata']['name']} {container['name']} <==" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line and "==>" not in line]) > len(pods)


def test_an_upgrade_with_keys_fails_no_request(service: Service) -> None:
    """Add a new cluster, which requires keys, next to the old one; then the old one ends."""
    before = ready_endpoints(service.cluster, service.namespace, NAME)
    with service.traffic() as traffic:
        service.apply("api_keys_secret=api-keys")
        service.wait()
        wait_until(lambda: not set(before) & set(traffic.endpoints[-1][1]), 180, "the new pods serve alone")
        service.settle(2)
    assert_nothing_failed(traffic)
    assert status(service, "") == status(service, OTHER_KEY) == 401
    assert status(service, KEY) == 200


def test_a_key_that_is_added_to_the_secret_is_accepted_without_a_restart(service: Service) -> None:
    cluster, namespace = service.cluster, service.namespace
    pods = {pod["metadata"]["uid"] for pod in service.serving()}
    keys = f"first: {KEY}\\nsecond: {OTHER_KEY}\\n"
    patch = f'{{"stringData": {{"keys": "{keys}"}}}}'
    with service.traffic() as traffic:
        cluster.kubectl("--namespace", namespace, "patch", "secret", "api-keys", f"--patch={patch}")
        endpoints = ready_endpoints(cluster, namespace, NAME)
        for address in endpoints:
            # A kubelet refreshes a mounted Secret within its sync period of a minute plus a cache's lifetime.
            wait_until(lambda at=address: ask(at, OTHER_KEY) == 200, 150, f"{address} accepts the new key")
    assert_nothing_failed(traffic)
    assert {pod["metadata"]["uid"] for pod in service.serving()} == pods


def test_a_good_version_is_promoted_with_the_deployers_role_alone(service: Service, tmp_path: Path) -> None:
    done, traffic = roll_out(service, tmp_path, "good")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promoted" in done.stdout
    assert_nothing_failed(traffic)


def test_a_bad_version_is_rolled_back_with_the_deployers_role_alone(service: Service, tmp_path: Path) -> None:
    done, traffic = roll_out(service, tmp_path, "bad")
    assert done.returncode != 0
    assert "rolled back" in done.stdout + done.stderr or "rolled_back" in done.stdout
    assert_nothing_failed(traffic)


def test_a_deleted_pod_fails_no_request(service: Service) -> None:
    service.wait()
    pod = service.serving()[0]["metadata"]["name"]
    with service.traffic() as traffic:
        service.cluster.kubectl("--namespace", service.namespace, "delete", "pod", pod, "--wait=false")
        wait_until(lambda: len(traffic.endpoints[-1][1]) == 1, 60, "the pod left the endpoints")
        wait_until(lambda: len(traffic.endpoints[-1][1]) == 2, 180, "another pod took over")
    assert_nothing_failed(traffic)


def test_a_killed_worker_fails_only_its_own_requests_until_its_endpoint_is_gone(service: Service) -> None:
    service.wait()  # a pod is an endpoint before its own replica runs, while another pod has one
    victim = service.serving()[0]
    address = victim["status"]["podIP"]
    with service.traffic() as traffic:
        wait_until(lambda: len(traffic.requests) > 10, 30, "traffic flows")
        killed_s = time.monotonic()
        service.kill(victim)
        dead_s = time.monotonic()
        wait_until(lambda: traffic.left_s(address, killed_s), 60, f"{address} is no endpoint any more")
        wait_until(lambda: len(traffic.endpoints[-1][1]) >= 2, 180, "another pod took over")
    left_s = traffic.left_s(address, killed_s)
    assert left_s is not None and left_s - killed_s < _ENDPOINT_LEAVES_S
    # HAProxy of the other pod has some in flight at the replica that dies.
    others = [
        one for one in traffic.failed if one.sent_s > (left_s + 0.5 if one.address == address else dead_s)
    ]
    assert not others, others[:10]
    service.timings["killed to gone"] = left_s - killed_s
    service.timings["failed at the killed pod"] = len(traffic.failed)


def test_a_killed_head_fails_no_request(service: Service) -> None:
    service.wait()
    head = service.heads()[-1]
    before = head["metadata"]["uid"]
    with service.traffic() as traffic:
        began = time.monotonic()
        service.kill(head)

        def is_back() -> bool:
            return any(
                one["type"] == "Ready" and one["status"] == "True"
                for head in service.heads()
                if head["metadata"]["uid"] != before
                for one in head["status"].get("conditions") or []
            )

        wait_until(is_back, _HEAD_BACK_S, "another head is ready")
        service.timings["head back"] = time.monotonic() - began
    assert_nothing_failed(traffic)


@pytest.mark.long
def test_pods_are_added_under_load_and_no_request_fails(service: Service) -> None:
    service.settle(2)
    with service.traffic(_HIGH) as traffic:
        service.settle(4)
    assert_nothing_failed(traffic)


@pytest.mark.long
def test_pods_that_the_load_does_not_need_leave_and_no_request_fails(service: Service) -> None:
    """Remove pods after the policy's window, Ray's idle time-out of 120 s, and draining."""
    with service.traffic() as traffic:
        service.settle(2, 420)
    assert_nothing_failed(traffic)


def roll_out(service: Service, folder: Path, which: str) -> tuple[Any, Traffic]:
    """Run `rollout start` like the builds do."""
    cluster, namespace = service.cluster, service.namespace
    kubeconfig = deployers_kubeconfig(cluster, namespace, folder / "kubeconfig")
    may = ("auth", "can-i", "--as=somebody", f"--as-group={GROUP}", "--namespace", namespace)
    assert cluster.kubectl(*may, "patch", "rayservices.ray.io").strip() == "yes"
    (folder / "plan.toml").write_text(_PLAN)
    service.wait()
    with service.traffic() as traffic:
        done = cluster.run(
            "rollout", "start", "--target", "rayservice", "--namespace", namespace, "--name", NAME,
            "--canary", version(cluster, which), "--plan", str(folder / "plan.toml"),
            "--journal", str(folder / "journal"),
            timeout_s=400, kubeconfig=kubeconfig,
        )  # fmt: skip
    return done, traffic


def version(cluster: Cluster, which: str) -> str:
    """Return the address of a version that pods can read: new, or OPERATOR_TEST_MODEL_GOOD or _BAD."""
    if given := os.environ.get(f"OPERATOR_TEST_MODEL_{which.upper()}"):
        return given
    if cluster.shared_folder is None:
        pytest.skip(f"set OPERATOR_TEST_MODEL_{which.upper()} to a version of the model that pods can read")
    swapped = which == "bad"
    folder = cluster.shared_folder / which
    return version_of_builtin(folder, f"{which}-1", swap_labels=swapped, temperature=None if swapped else 1.1)


def assert_nothing_failed(traffic: Traffic) -> None:
    assert len(traffic.requests) > traffic.rate
    first = traffic.requests[0].sent_s
    failed = [f"{one.sent_s - first:.1f} s {one.address} {one.outcome}" for one in traffic.failed]
    changes = [f"{at - first:.1f} s {found}" for at, found in traffic.endpoints]
    assert not failed, f"{len(failed)} of {len(traffic.requests)}: {failed[:20]}; endpoints {changes}"


def status(service: Service, key: str) -> int:
    return ask(ready_endpoints(service.cluster, service.namespace, NAME)[0], key)


def ask(address: str, key: str) -> int:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return post(address, "I love this cream", headers)
