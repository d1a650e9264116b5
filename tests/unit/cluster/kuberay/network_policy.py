"""Evaluator of NetworkPolicies: whether the rendered policies let a flow into a pod, or out of it.

The semantics are those of networking.k8s.io/v1: a pod that a policy selects accepts the flows that any of its
policies allows, and a pod that no policy selects accepts every flow. Policies do not apply to the kubelet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """Pod, or address outside of the cluster.

    Attributes:
        namespace: namespace of the pod; None for an address.
        labels: labels of the pod.
        address: IP address.
    """

    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.40.32.7"


def is_allowed(
    policies: Iterable[Mapping[str, Any]], source: Peer, target: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether the policies of both ends allow the flow."""
    listed = list(policies)
    return _passes(listed, source, target, "Egress", port, protocol) and _passes(
        listed, target, source, "Ingress", port, protocol
    )


def _passes(
    policies: list[Mapping[str, Any]], pod: Peer, other: Peer, direction: str, port: int, protocol: str
) -> bool:
    """Return whether the policies of one end allow the flow in its direction."""
    if pod.namespace is None:
        return True
    selecting = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and _matches(policy["spec"]["podSelector"], pod.labels)
    ]
    peers = "from" if direction == "Ingress" else "to"
    return not selecting or any(
        _rule_allows(rule, peers, policy["metadata"]["namespace"], other, port, protocol)
        for policy in selecting
        for rule in policy["spec"].get(direction.lower(), ())
    )


def _rule_allows(
    rule: Mapping[str, Any], peers: str, namespace: str, other: Peer, port: int, protocol: str
) -> bool:
    ports = rule.get("ports")
    if ports and not any(one["port"] == port and one.get("protocol", "TCP") == protocol for one in ports):
        return False
    listed = rule.get(peers)
    return not listed or any(_peer_matches(one, namespace, other) for one in listed)


def _peer_matches(peer: Mapping[str, Any], namespace: str, other: Peer) -> bool:
    unknown = peer.keys() - {"ipBlock", "podSelector", "namespaceSelector"}
    assert not unknown, f"the evaluator does not know {unknown}"
    if block := peer.get("ipBlock"):
        assert block.keys() == {"cidr"}, "the evaluator does not know `except`"
        return ip_address(other.address) in ip_network(block["cidr"])
    if other.namespace is None:
        return False
    if (selector := peer.get("namespaceSelector")) is None:
        same_namespace = other.namespace == namespace
    else:
        same_namespace = _matches(selector, {NAME_LABEL: other.namespace})
    return same_namespace and _matches(peer.get("podSelector", {}), other.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "the evaluator knows only matchLabels"
    return selector.get("matchLabels", {}).items() <= labels.items()
