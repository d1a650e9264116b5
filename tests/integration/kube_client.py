"""Clients of the Kubernetes API stand-in, in a process and by a kubeconfig."""

from __future__ import annotations

from pathlib import Path

import yaml
from kubernetes.client import ApiClient, Configuration

from cluster.kuberay.client.client import ClientTiming, KubeRay
from tests.integration.kube_api import TOKEN


def client_of(url: str, pace: ClientTiming, token: str = TOKEN) -> KubeRay:
    configuration = Configuration(host=url)
    configuration.api_key = {"BearerToken": f"Bearer {token}"}
    configuration.retries = False
    return KubeRay(ApiClient(configuration), pace)


def write_kubeconfig(path: Path, url: str) -> None:
    """Write a kubeconfig that kubectl could use, too."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "tester", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "tester"}}],
    }
    path.write_text(yaml.safe_dump(content))
