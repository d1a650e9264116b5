"""Service accounts, Service, PodDisruptionBudget and NetworkPolicies of the Ray pods."""

from typing import Any
from urllib.parse import urlsplit

from cluster.kuberay.manifests import redis
from cluster.kuberay.manifests.labels import COMPONENT_LABEL, INSTANCE_LABEL, metadata
from cluster.kuberay.manifests.pods import (
    AGENT_PORT,
    DASHBOARD_PORT,
    HAPROXY_METRICS_PORT,
    METRICS_PORT,
    SERVE_PORT,
    worker_labels,
)
from cluster.kuberay.settings import INCREMENTAL, Environment, TrainingSettings

TRAINING_COMPONENT = "ray-training"
"""Component label of training pods, which the service's disruption budget and its Service must not select."""
_POD_IDENTITY = "169.254.170.23/32"
"""Address of the EKS Pod Identity agent on every node."""


def guard_documents(environment: Environment) -> list[dict[str, Any]]:
    """Return service accounts, Service, network policies, and with several pods the disruption budget."""
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
    """Return service account and network policy of the training pods; none without a training.

    They are separate objects, so that a training neither needs nor changes a service.
    """
    if environment.training is None:
        return []
    return [
        _service_account(environment, training_account(environment)),
        _training_network(environment, environment.training),
    ]


def training_account(environment: Environment) -> str:
    """Return the service account of the training pods, which may write runs and versions."""
    return f"{environment.name}-training"


def _service_account(environment: Environment, name: str) -> dict[str, Any]:
    """Return a service account. EKS Pod Identity binds a role to it without an annotation."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(environment, name),
    }


def _http_service(environment: Environment) -> dict[str, Any]:
    """Return the Service for clients, which selects the ready workers of all Ray clusters of the environment.

    During an upgrade, KubeRay's Service is switched to the new cluster when Serve runs there, even if the
    kubelet has not marked its pods as ready, and has no endpoints in between.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(environment, environment.name),
        "spec": {
            "selector": worker_labels(environment),
            "ports": [{"name": "http", "port": SERVE_PORT, "targetPort": SERVE_PORT}],
        },
    }


def _disruption_budget(environment: Environment) -> dict[str, Any]:
    """Return the disruption budget: at least one worker fewer than the minimum. KubeRay does not create one.

    It sets minAvailable as a number: a RayCluster has no scale subresource, which Kubernetes would need for
    percentages and for maxUnavailable.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(environment, f"{environment.name}-workers"),
        "spec": {
            "minAvailable": environment.serve.min_pods - 1,
            "selector": {"matchLabels": worker_labels(environment)},
        },
    }


def _network(environment: Environment) -> dict[str, Any]:
    """Return the network policy of the Ray pods.

    Ingress: clients (namespaces and addresses) to the service, the API server's proxy and Prometheus to the
        metrics, the operator to the dashboard, the cluster itself.
    Egress: DNS, HTTPS (S3, registries, the API server), the Pod Identity agent, Redis, the cluster itself.
    """
    clients = environment.network.clients
    policy = _ray_network(environment, environment.name, {INSTANCE_LABEL: environment.name})
    if clients:
        policy["spec"]["ingress"].append(
            {"from": [_namespace(name) for name in clients], "ports": [_port(SERVE_PORT)]}
        )
    if environment.upgrade.type == INCREMENTAL:
        gateway = {"gateway.networking.k8s.io/gateway-name": f"{environment.name}-gateway"}
        policy["spec"]["ingress"].append(
            {"from": [{"podSelector": {"matchLabels": gateway}}], "ports": [_port(SERVE_PORT)]}
        )
    for cidrs, ports in (
        (environment.network.client_cidrs, [SERVE_PORT]),
        # The API server's proxy: pods' metrics, and Serve's REST API on the head.
        (environment.network.control_plane_cidrs, [METRICS_PORT, DASHBOARD_PORT]),
    ):
        if cidrs:
            policy["spec"]["ingress"].append(
                {
                    "from": [{"ipBlock": {"cidr": cidr}} for cidr in cidrs],
                    "ports": [_port(port) for port in ports],
                }
            )
    if environment.redis:
        policy["spec"]["egress"].append({"ports": [_port(_redis_port(environment.redis.address))]})
    return policy


def _training_network(environment: Environment, training: TrainingSettings) -> dict[str, Any]:
    """Return the network policy of the training pods, with egress to the registry and no clients."""
    labels = {INSTANCE_LABEL: environment.name, COMPONENT_LABEL: TRAINING_COMPONENT}
    policy = _ray_network(environment, training_account(environment), labels)
    url = urlsplit(training.registry or "")
    if port := url.port or (80 if url.scheme == "http" else None):
        policy["spec"]["egress"].append({"ports": [_port(port)]})
    return policy


def _ray_network(environment: Environment, name: str, labels: dict[str, str]) -> dict[str, Any]:
    """Return the common network policy of Ray clusters, for the pods with these labels."""
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
    """Return the network policy of Redis: only Ray pods and the operator's clean-up with their labels."""
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
    """Return the port of `host:port`, or the default."""
    _, _, port = (address or "").rpartition(":")
    return int(port) if port.isdigit() else redis.PORT


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _port(port: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": port, "protocol": protocol}
