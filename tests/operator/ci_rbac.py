"""User of the builds: a kubeconfig with exactly the rights of cluster/aws/ci-rbac.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.operator.cluster import ROOT, Cluster

_ACCOUNT = "builds"
GROUP = "sentiment-deployers"


def deployers_kubeconfig(cluster: Cluster, namespace: str, path: Path) -> Path:
    """Create the role in a namespace, bind it also to a service account, and write that account's kubeconfig.

    Args:
        cluster: cluster in which an administrator may create roles.
        namespace: namespace that replaces the one in the file.
        path: path of the kubeconfig.
    """
    documents = list(yaml.safe_load_all((ROOT / "cluster/aws/ci-rbac.yaml").read_text()))
    account = {"name": _ACCOUNT, "namespace": namespace}
    for document in documents:
        document["metadata"]["namespace"] = namespace
        if document["kind"] == "RoleBinding":
            document["subjects"].append({"kind": "ServiceAccount", **account})
    documents.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    cluster.kubectl("apply", "--filename=-", input=yaml.safe_dump_all(documents))
    token = cluster.kubectl("--namespace", namespace, "create", "token", _ACCOUNT).strip()
    view = ("config", "view", "--raw", "--minify", "--flatten", "--output", "json")
    config = json.loads(cluster.kubectl(*view))
    config["users"] = [{"name": _ACCOUNT, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = _ACCOUNT
    path.write_text(yaml.safe_dump(config))
    return path
