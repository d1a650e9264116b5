"""Kubernetes cluster with the KubeRay operator, used by the tests through kubectl, the client and the CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from kubernetes import config
from kubernetes.client import ApiClient, Configuration

from cluster.kuberay.client.client import ClientTiming, KubeRay

ROOT = Path(__file__).parents[2]
_KUBECTL_S = 150
_POLL_S = 0.5

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cluster:
    """Kubernetes cluster under test.

    Attributes:
        kubeconfig: kubeconfig of an administrator.
        kubectl_program: kubectl, by name or path.
        shared_folder: a folder of this machine that every pod sees at the same path; only the suite's own
            cluster has one.
    """

    kubeconfig: Path
    kubectl_program: str = "kubectl"
    shared_folder: Path | None = None

    @property
    def has_own_kubelet(self) -> bool:
        """Return whether the pods are processes of this machine, started by this suite's kubelet."""
        return self.shared_folder is not None

    def kubectl(self, *arguments: str, input: str | None = None) -> str:
        """Return the output of kubectl.

        Raises:
            AssertionError: kubectl failed; the message has its standard error.
        """
        done = subprocess.run(
            [self.kubectl_program, "--kubeconfig", str(self.kubeconfig), *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=_KUBECTL_S,
        )
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return the JSON of `kubectl get`: an object, or a List."""
        return json.loads(self.kubectl("get", *arguments, "--output", "json"))

    def client(self) -> KubeRay:
        """Return the project's client, with the administrator's credentials."""
        configuration = Configuration()
        configuration.retries = False
        config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
        return KubeRay(ApiClient(configuration), ClientTiming())

    def run(
        self, *arguments: str, timeout_s: float = 120, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m cluster ARGUMENTS` to its end; the exit code is not checked."""
        return subprocess.run(
            _cli(arguments),
            cwd=ROOT,
            env=self._variables(kubeconfig),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def start(self, *arguments: str, kubeconfig: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start `python -m cluster ARGUMENTS`; both outputs go to one pipe unless `options` set others."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        return subprocess.Popen(
            _cli(arguments), cwd=ROOT, env=self._variables(kubeconfig), text=True, **options
        )

    def execute(self, namespace: str, pod: str, container: str, *command: str) -> str:
        """Return the output of a command that runs in a container; its exit code is not checked."""
        if not self.has_own_kubelet:
            chosen = ["--namespace", namespace, pod, "--container", container]
            return self.kubectl("exec", *chosen, "--", *command)
        node = self.get("--namespace", namespace, "pod", pod)["spec"]["nodeName"]
        query = urlencode([("cmd", part) for part in command])
        path = f"/api/v1/nodes/{node}/proxy/run/{namespace}/{pod}/{container}?{query}"
        return self.kubectl("create", "--raw", path, "--filename=-", input="")

    def has_container_runtime(self) -> bool:
        """Return whether pods run from images; a kubelet that ignores images reports no container runtime."""
        nodes = self.get("nodes")["items"]
        return all(node["status"].get("nodeInfo", {}).get("containerRuntimeVersion") for node in nodes)

    def _variables(self, kubeconfig: Path | None) -> Mapping[str, str]:
        return {**os.environ, "KUBECONFIG": str(kubeconfig or self.kubeconfig), "PYTHONUNBUFFERED": "1"}


def wait_until(condition: Callable[[], Result], timeout_s: float, what: str) -> Result:
    """Evaluate a condition until it is true, and return its value.

    Raises:
        AssertionError: it is not true after `timeout_s`; the message names `what` and the last value.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}; last seen: {value!r}")
        time.sleep(_POLL_S)
    return value


def _cli(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "cluster", *arguments]
