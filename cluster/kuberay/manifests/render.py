"""Manifests of an environment, in the order in which they can be applied."""

from collections.abc import Iterable
from typing import Any

import yaml

from cluster.kuberay.manifests.ingress import ingress_documents
from cluster.kuberay.manifests.karpenter import node_documents
from cluster.kuberay.manifests.pod_monitor import pod_monitor_documents
from cluster.kuberay.manifests.policies import guard_documents, training_guards
from cluster.kuberay.manifests.rayservice import ray_job, ray_service
from cluster.kuberay.manifests.redis import redis_documents
from cluster.kuberay.settings import Environment

Document = dict[str, Any]


def service_documents(environment: Environment) -> list[Document]:
    """Return the service's documents: nodes, accounts, policies, ingress, Redis, and the RayService last."""
    return [
        *node_documents(environment),
        *guard_documents(environment),
        *ingress_documents(environment),
        *pod_monitor_documents(environment),
        *(redis_documents(environment, environment.redis) if environment.redis else []),
        ray_service(environment),
    ]


def training_documents(environment: Environment) -> list[Document]:
    """Return the training's documents: account, network policy, and the RayJob last; none without [training].

    With GPUs the training also needs the nodes of the service.
    """
    if environment.training is None:
        return []
    return [*training_guards(environment), ray_job(environment, environment.training)]


def to_yaml(documents: Iterable[Document]) -> str:
    """Return the documents as YAML, with block scalars for texts of several lines."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Safe YAML without anchors, and with block scalars."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
