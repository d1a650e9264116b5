"""RayService with Redis, with the queries and actions of the tests on its pods."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.kuberay.manifests.labels import COMPONENT_LABEL
from tests.operator.cluster import Cluster, wait_until
from tests.operator.traffic import Traffic, ready_endpoints

NAME = "sentiment"
KEY, OTHER_KEY = "key-of-the-first-client", "key-of-the-second-client"
_WORKER = f"{COMPONENT_LABEL}=ray-worker"
_HEAD = f"{COMPONENT_LABEL}=ray-head"
_SETTLED_S = 240


@dataclass
class Service:
    """RayService of a namespace.

    Attributes:
        cluster: cluster in which it runs.
        namespace: namespace of all objects.
        options: `--env` and `--set` of the last apply.
        timings: seconds that steps took, for the report.
    """

    cluster: Cluster
    namespace: str
    options: list[str]
    timings: dict[str, float] = field(default_factory=dict)

    def traffic(self, rate: float = 10, key: str = KEY) -> Traffic:
        """Return steady requests with a key, which a service without keys ignores."""
        return Traffic(self.cluster, self.namespace, NAME, rate, key)

    def apply(self, *changes: str) -> None:
        """Apply the settings with changes, which are kept for later applies."""
        self.options += [part for change in changes for part in ("--set", change)]
        done = self.cluster.run("apply", *self.options)
        assert done.returncode == 0, done.stdout + done.stderr

    def wait(self, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the verb `wait`."""
        done = self.cluster.run("wait", *self.options, "--timeout", str(timeout_s), timeout_s=timeout_s + 60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def workers(self) -> list[dict[str, Any]]:
        """Return the worker pods that are not ending."""
        return self._pods(_WORKER)

    def serving(self) -> list[dict[str, Any]]:
        """Return the worker pods that are ready endpoints; during an upgrade those of one cluster."""
        ready = ready_endpoints(self.cluster, self.namespace, NAME)
        return [pod for pod in self.workers() if pod["status"].get("podIP") in ready]

    def heads(self) -> list[dict[str, Any]]:
        """Return the head pods, the newest last; there are two for a minute after an upgrade."""
        return sorted(self._pods(_HEAD), key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def settle(self, pods: int, within_s: float = _SETTLED_S) -> None:
        """Wait for a number of ready endpoints and as many workers."""

        def counts() -> tuple[int, int]:
            return len(ready_endpoints(self.cluster, self.namespace, NAME)), len(self.workers())

        began = time.monotonic()
        seen: list[tuple[int, int]] = []

        def is_settled() -> bool:
            seen[:] = [counts()]
            return seen == [(pods, pods)]

        try:
            wait_until(is_settled, within_s, f"{pods} workers, all of them ready")
        except AssertionError as error:
            raise AssertionError(f"{error}; (ready endpoints, workers) = {seen}") from None
        self.timings[f"{pods} ready"] = time.monotonic() - began

    def kill(self, pod: dict[str, Any]) -> None:
        """Kill every process of a Ray container except its first, with SIGKILL and all at once."""
        container = pod["spec"]["containers"][0]["name"]
        script = "import os; os.kill(-1, 9)"
        with suppress(AssertionError):  # kubectl exec may be among the processes that end
            self.cluster.execute(self.namespace, pod["metadata"]["name"], container, "python", "-c", script)

    def _pods(self, selector: str) -> list[dict[str, Any]]:
        found = self.cluster.get("--namespace", self.namespace, "pods", "--selector", selector)["items"]
        return [
            pod
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
            and pod["status"].get("phase") in ("Pending", "Running")
        ]


def make_secrets(cluster: Cluster, namespace: str) -> None:
    """Create the Secrets that the settings name: Redis' password and the API keys."""
    create = ("--namespace", namespace, "create", "secret", "generic")
    cluster.kubectl(*create, "redis-password", "--from-literal=password=of-this-test")
    cluster.kubectl(*create, "api-keys", f"--from-literal=keys=first: {KEY}\n")


def make_disk(cluster: Cluster, namespace: str) -> str | None:
    """Create a volume for Redis if no StorageClass does; return its name."""
    classes = cluster.get("storageclasses")["items"]
    default = "storageclass.kubernetes.io/is-default-class"
    if any((one["metadata"].get("annotations") or {}).get(default) == "true" for one in classes):
        return None
    name = f"{namespace}-redis"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "8Gi"},
            "accessModes": ["ReadWriteOnce"],
            "claimRef": {"namespace": namespace, "name": f"data-{NAME}-redis-0"},
            "hostPath": {"path": str(Path("/var/lib") / name)},
        },
    }
    cluster.kubectl("create", "--filename=-", input=json.dumps(volume))
    return name
