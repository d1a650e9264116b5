"""Tests that the suite's own kubelet does what the other tests rely on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operator.cluster import ROOT, Cluster, wait_until

_LOOP = "import sys, time, pathlib; print('began'); time.sleep(600)"


@pytest.fixture
def own(cluster: Cluster) -> Cluster:
    if not cluster.has_own_kubelet:
        pytest.skip("this cluster has a kubelet of its own")
    return cluster


def run_pod(cluster: Cluster, namespace: str, container: dict[str, Any], **spec: Any) -> str:
    """Create a pod of one container, and wait until it runs."""
    container = {"name": "main", "image": "sentiment-service:0.1.0-cpu", **container}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1, **spec},
    }
    cluster.kubectl("create", "--filename=-", input=json.dumps(body))
    wait_until(
        lambda: state(cluster, namespace)["status"]["phase"] in ("Running", "Succeeded"), 60, "it runs"
    )
    return "one"


def state(cluster: Cluster, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("--namespace", namespace, "pod", "one")
    return found


def test_a_container_has_the_files_of_its_image_and_cannot_write_beside_its_volumes(
    own: Cluster, namespace: str
) -> None:
    secret = ("--namespace", namespace, "create", "secret", "generic", "keys", "--from-literal=keys=first")
    own.kubectl(*secret)
    pod = run_pod(
        own,
        namespace,
        {
            "command": ["python", "-u", "-c", _LOOP],
            "env": [{"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}}],
            "resources": {"limits": {"memory": "64Mi"}},
            "securityContext": {"readOnlyRootFilesystem": True},
            "volumeMounts": [
                {"name": "tmp", "mountPath": "/tmp"},
                {"name": "keys", "mountPath": "/etc/keys", "readOnly": True},
            ],
        },
        volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "keys"}}],
    )

    def seen(script: str) -> str:
        return own.execute(namespace, pod, "main", "python", "-c", script)

    assert seen("import serve_app, os; print(serve_app.__file__, os.getcwd())").split() == [
        "/app/serve_app/__init__.py",
        "/app",
    ]
    assert "No module named 'train'" in seen("import train"), "the image for serving does not have it"
    assert seen(f"import os; print(os.path.exists({str(ROOT / 'Makefile')!r}))").strip() == "False"
    assert "Read-only file system" in seen("open('/app/x', 'w')")
    assert seen("open('/tmp/x', 'w'); print('written')").strip() == "written"
    assert seen("import os; print(os.environ['LIMIT'])").strip() == str(64 * 2**20)
    assert own.kubectl("--namespace", namespace, "logs", pod).strip() == "began"
    patch = '{"stringData": {"keys": "second", "more": "1"}}'
    own.kubectl("--namespace", namespace, "patch", "secret", "keys", f"--patch={patch}")
    wait_until(lambda: "second" in seen("print(open('/etc/keys/keys').read())"), 30, "the file is new")


def test_a_container_that_ends_is_started_again_later_each_time(own: Cluster, namespace: str) -> None:
    run_pod(own, namespace, {"command": ["python", "-c", "raise SystemExit(3)"]})

    def container() -> dict[str, Any]:
        [status] = state(own, namespace)["status"]["containerStatuses"]
        return dict(status)

    wait_until(lambda: container()["restartCount"] >= 2, 60, "it was started twice more")
    wait_until(
        lambda: container()["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff", 30, "it waits"
    )
    assert container()["lastState"]["terminated"]["exitCode"] == 3
