"""What stands around the pods: their identity, how many may go at once, and who reaches them where."""

from typing import Any
from urllib.parse import urlsplit

from cluster.kuberay import redis
from cluster.kuberay.labels import COMPONENT_LABEL, INSTANCE_LABEL, metadata
from cluster.kuberay.pods import (
    AGENT_PORT,
    DASHBOARD_PORT,
    HAPROXY_METRICS_PORT,
    METRICS_PORT,
    SERVE_PORT,
)
from cluster.kuberay.settings import Environment, TrainingSettings

TRAINING_COMPONENT = "ray-training"
"""Of the training's pods: neither the service's disruption budget nor its Service may count them."""
_POD_IDENTITY = "169.254.170.23/32"
"""Where the EKS Pod Identity agent answers on every node."""


def guard_documents(environment: Environment) -> list[dict[str, Any]]:
    """Service account, Service, disruption budget where there is a pod to spare, network policies."""
    documents = [
        _service_account(environment, environment.name),
        _http_service(environment),
        _network(environment),
    ]
    documents += training_guards(environment)
    if environment.serve.min_pods > 1:
        documents.append(_disruption_budget(environment))
    if environment.redis and environment.redis.address is None:
        documents.append(_redis_network(environment))
    return documents


def training_guards(environment: Environment) -> list[dict[str, Any]]:
    """Service account and network policy of the training's pods; none where the environment does not train.

    They are the training's own, so that a training neither needs a service nor changes one.
    """
    if environment.training is None:
        return []
    return [
        _service_account(environment, training_account(environment)),
        _training_network(environment, environment.training),
    ]


def training_account(environment: Environment) -> str:
    """Service account of the training's pods: they write runs and versions, which the service's must not."""
    return f"{environment.name}-training"


def _service_account(environment: Environment, name: str) -> dict[str, Any]:
    """The identity of pods. EKS Pod Identity binds a role to it from outside: no annotation."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(environment, name),
    }


def _http_service(environment: Environment) -> dict[str, Any]:
    """Where clients of the cluster find the service: every worker that is ready, of whichever Ray cluster.

    KubeRay's own Service is moved to the new cluster of an upgrade when Serve runs there, whether or not the
    kubelet has found its pods ready, and is without endpoints in between.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(environment, environment.name),
        "spec": {
            "selector": _workers(environment),
            "ports": [{"name": "http", "port": SERVE_PORT, "targetPort": SERVE_PORT}],
        },
    }


def _workers(environment: Environment) -> dict[str, str]:
    """Labels of the workers that serve."""
    return {INSTANCE_LABEL: environment.name, COMPONENT_LABEL: "ray-worker"}


def _disruption_budget(environment: Environment) -> dict[str, Any]:
    """At most one worker fewer than the least, for node upgrades and Karpenter alike. KubeRay makes none.

    A count of those that stay: a RayCluster has no scale subresource, and without one Kubernetes can work out
    neither percentages nor maxUnavailable.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(environment, f"{environment.name}-workers"),
        "spec": {
            "minAvailable": environment.serve.min_pods - 1,
            "selector": {"matchLabels": _workers(environment)},
        },
    }


def _network(environment: Environment) -> dict[str, Any]:
    """Who may speak with the Ray pods.

    In: clients to the service, Prometheus to the metrics, the operator to the dashboard, the cluster itself.
    Out: names, HTTPS (S3, registries, the API server), the Pod Identity agent, Redis, the cluster.
    """
    clients = environment.network.clients
    policy = _ray_network(environment, environment.name, {INSTANCE_LABEL: environment.name})
    if clients:
        policy["spec"]["ingress"].append(
            {"from": [_namespace(name) for name in clients], "ports": [_port(SERVE_PORT)]}
        )
    if environment.redis:
        policy["spec"]["egress"].append({"ports": [_port(_redis_port(environment.redis.address))]})
    return policy


def _training_network(environment: Environment, training: TrainingSettings) -> dict[str, Any]:
    """Who may speak with the training's pods: as with the service's; no clients, and the registry."""
    labels = {INSTANCE_LABEL: environment.name, COMPONENT_LABEL: TRAINING_COMPONENT}
    policy = _ray_network(environment, training_account(environment), labels)
    _, _, port = urlsplit(training.registry or "").netloc.rpartition(":")
    if port.isdigit():
        policy["spec"]["egress"].append({"ports": [_port(int(port))]})
    return policy


def _ray_network(environment: Environment, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """What every Ray cluster needs, for the pods with these labels."""
    network = environment.network
    own = {"podSelector": {"matchLabels": labels}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(environment, name),
        "spec": {
            "podSelector": own["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [own]},
                {
                    "from": [_namespace(network.operator)],
                    "ports": [_port(DASHBOARD_PORT), _port(AGENT_PORT), _port(SERVE_PORT)],
                },
                {
                    "from": [_namespace(network.monitoring)],
                    "ports": [_port(METRICS_PORT), _port(HAPROXY_METRICS_PORT)],
                },
            ],
            "egress": [
                {"to": [own]},
                {"ports": [_port(53), _port(53, "UDP")]},
                {"ports": [_port(443)]},
                {"to": [{"ipBlock": {"cidr": _POD_IDENTITY}}], "ports": [_port(80)]},
            ],
        },
    }


def _redis_network(environment: Environment) -> dict[str, Any]:
    """Redis hears the Ray pods alone; the operator's clean-up of it bears the head's labels."""
    name = redis.redis_name(environment)
    own = {"podSelector": {"matchLabels": {INSTANCE_LABEL: environment.name}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(environment, name),
        "spec": {
            "podSelector": {"matchLabels": {INSTANCE_LABEL: name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [own], "ports": [_port(redis.PORT)]}],
            "egress": [],
        },
    }


def _redis_port(address: str | None) -> int:
    """Of `host:port`."""
    _, _, port = (address or "").rpartition(":")
    return int(port) if port.isdigit() else redis.PORT


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": port, "protocol": protocol}
