"""Tests that evaluate every network flow of the service on the rendered NetworkPolicies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.kuberay.manifests.labels import COMPONENT_LABEL, INSTANCE_LABEL
from cluster.kuberay.manifests.policies import TRAINING_COMPONENT
from cluster.kuberay.manifests.render import service_documents
from cluster.kuberay.settings import read_environment
from tests.unit.cluster.kuberay.network_policy import Peer, is_allowed

NAMESPACE = "sentiment"


def ray(component: str) -> Peer:
    return Peer(NAMESPACE, {INSTANCE_LABEL: "sentiment", COMPONENT_LABEL: component}, "10.40.17.4")


HEAD, WORKER, TRAINING = ray("ray-head"), ray("ray-worker"), ray(TRAINING_COMPONENT)
REDIS = Peer(NAMESPACE, {INSTANCE_LABEL: "sentiment-redis"}, "10.40.17.5")
NEIGHBOUR = Peer(NAMESPACE, {INSTANCE_LABEL: "other"}, "10.40.17.6")
OPERATOR = Peer("kuberay-system", address="10.40.17.7")
AGENT = Peer("monitoring", address="10.40.17.8")
INGRESS = Peer("ingress", address="10.40.17.9")
VPC = Peer(address="10.40.240.9")
"""Address of the load balancer, a probe, or the API server's network interface."""
INTERNET = Peer(address="203.0.113.9")
DNS = Peer("kube-system", address="10.40.17.10")
IDENTITY = Peer(address="169.254.170.23")
METADATA = Peer(address="169.254.169.254")
POD_RANGE = "10.40.16.0/20"
"""CIDR block of the pods in these tests, without the addresses of the load balancer."""

FLOWS = [
    # source, target, port, reason, allowed
    (VPC, WORKER, 8000, "load balancer and probe: requests", True),
    (VPC, WORKER, 8080, "API server's proxy: metrics that a rollout reads", True),
    (VPC, HEAD, 8265, "API server's proxy: Serve's REST API", True),
    (VPC, WORKER, 8265, "API server's proxy: the same port of a worker, where nothing listens", True),
    (VPC, HEAD, 6379, "GCS, from the VPC", False),
    (VPC, WORKER, 10001, "Ray client, from the VPC", False),
    (VPC, REDIS, 6379, "the head's state, from the VPC", False),
    (INTERNET, WORKER, 8000, "requests that bypass the load balancer", False),
    (INTERNET, HEAD, 8265, "Ray's dashboard", False),
    (INGRESS, WORKER, 8000, "ingress controller in the cluster", True),
    (INGRESS, HEAD, 8265, "Ray's dashboard", False),
    (OPERATOR, HEAD, 8265, "operator: serve config", True),
    (OPERATOR, WORKER, 52365, "operator: health of the node", True),
    (OPERATOR, WORKER, 8000, "operator: health of the proxy", True),
    (AGENT, WORKER, 8080, "metrics of Ray and of the service", True),
    (AGENT, WORKER, 9101, "metrics of HAProxy", True),
    (HEAD, WORKER, 40123, "Ray between its nodes", True),
    (WORKER, HEAD, 6379, "GCS", True),
    (HEAD, REDIS, 6379, "state of the head", True),
    (WORKER, REDIS, 6379, "clean-up with the labels of the pods", True),
    (NEIGHBOUR, REDIS, 6379, "another application", False),
    (REDIS, WORKER, 8000, "Redis opens no connections", False),
    (TRAINING, WORKER, 40123, "training reaches the service's Ray", True),
    (WORKER, INTERNET, 443, "S3, ECR, the API server", True),
    (WORKER, INTERNET, 80, "plain HTTP", False),
    (WORKER, DNS, 53, "names", True),
    (WORKER, IDENTITY, 80, "EKS Pod Identity", True),
    (WORKER, METADATA, 80, "credentials of the node", False),
]


def with_narrow_clients() -> list[dict[str, object]]:
    """Return the policies of prod with only the load balancer's subnets as clients."""
    changes = ['network.client_cidrs=["10.40.240.0/20"]', 'network.control_plane_cidrs=["10.40.240.0/20"]']
    return policies(*changes)


def policies(*changes: str) -> list[dict[str, object]]:
    documents = service_documents(read_environment("prod", changes))
    return [document for document in documents if document["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [pytest.param(s, t, port, allowed, id=f"{port}: {why}") for s, t, port, why, allowed in FLOWS],
)
def test_flow(source: Peer, target: Peer, port: int, allowed: bool) -> None:
    assert is_allowed(with_narrow_clients(), source, target, port) is allowed


def test_names_are_also_resolved_over_udp() -> None:
    assert is_allowed(with_narrow_clients(), WORKER, DNS, 53, "UDP")


def test_on_eks_the_shipped_ranges_contain_the_pods() -> None:
    """Pods have addresses of the VPC: in prod this flow is open, and Ray's token protects the dashboard."""
    shipped = policies()
    assert [flow[2:4] for flow in FLOWS if is_allowed(shipped, *flow[:3]) is not flow[4]] == [
        (8265, "Ray's dashboard")
    ]


def test_the_gateway_of_an_incremental_upgrade_reaches_the_pods() -> None:
    gateway = Peer(NAMESPACE, {"gateway.networking.k8s.io/gateway-name": "sentiment-gateway"}, "10.9.0.1")
    incremental = ("upgrade.type=NewClusterWithIncrementalUpgrade", "upgrade.gateway_class=istio")
    assert is_allowed(policies(*incremental), gateway, WORKER, 8000)
    assert not is_allowed(policies(), gateway, WORKER, 8000)


@pytest.mark.parametrize(("address", "port"), [("http://mlflow:5000", 5000), ("http://mlflow.internal", 80)])
def test_a_training_reaches_its_registry(address: str, port: int) -> None:
    changes = ["training.name=senti", "training.version='1'", f"training.registry={address}"]
    documents = service_documents(read_environment("prod", changes))
    rules = [document for document in documents if document["kind"] == "NetworkPolicy"]
    assert is_allowed(rules, TRAINING, Peer(address="192.0.2.1"), port)


def test_without_address_ranges_the_load_balancer_and_the_api_server_are_cut_off() -> None:
    bare = policies("network.client_cidrs=[]", "network.control_plane_cidrs=[]")
    assert not is_allowed(bare, VPC, WORKER, 8000) and not is_allowed(bare, VPC, WORKER, 8080)


def test_the_vpc_of_terraform_contains_the_load_balancer_and_the_api_server() -> None:
    shipped = policies()
    assert is_allowed(shipped, VPC, WORKER, 8000) and is_allowed(shipped, VPC, HEAD, 8265)
    assert not is_allowed(shipped, INTERNET, WORKER, 8000)
    assert not is_allowed(shipped, replace(VPC, address="10.41.0.1"), WORKER, 8000)
