"""Ingress of the service for the AWS Load Balancer Controller, and the Gateway of incremental upgrades.

Without an ingress, the service has only its Service of type ClusterIP. An incremental upgrade moves the
traffic through a Gateway, which replaces the Ingress.
"""

from typing import Any

from cluster.kuberay.ingress_settings import IngressSettings
from cluster.kuberay.manifests.labels import metadata
from cluster.kuberay.manifests.pods import SERVE_PORT
from cluster.kuberay.manifests.termination import TERMINATION_GRACE_S
from cluster.kuberay.settings import INCREMENTAL, Environment

INGRESS_CLASS = "alb"
"""IngressClass that the AWS Load Balancer Controller's chart creates."""
HEALTH_PATH = "/health"
"""Readiness of a replica, which needs no API key."""
_TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
_PREFIX = "alb.ingress.kubernetes.io"
_NLB = "service.beta.kubernetes.io/aws-load-balancer"


def ingress_documents(environment: Environment) -> list[dict[str, Any]]:
    """Return the Ingress, if one is configured, or the Gateway of incremental upgrades."""
    if environment.upgrade.type == INCREMENTAL:
        return [_gateway(environment)]
    return [_ingress(environment, environment.ingress)] if environment.ingress else []


def _ingress(environment: Environment, ingress: IngressSettings) -> dict[str, Any]:
    """Return the Ingress, whose targets are the addresses of the ready pods.

    A pod that ends leaves the targets, and its connections may end within its grace period.
    """
    backend = {"service": {"name": environment.name, "port": {"number": SERVE_PORT}}}
    annotations = {
        "scheme": ingress.scheme,
        "target-type": "ip",
        "listen-ports": '[{"HTTPS": 443}]',
        "certificate-arn": ingress.certificate,
        "ssl-policy": _TLS_POLICY,
        "inbound-cidrs": ", ".join(ingress.inbound_cidrs or environment.network.client_cidrs),
        "backend-protocol": "HTTP",
        "healthcheck-path": HEALTH_PATH,
        "healthcheck-interval-seconds": "10",
        "healthcheck-timeout-seconds": "5",
        "healthy-threshold-count": "2",
        "unhealthy-threshold-count": "3",
        "load-balancer-attributes": f"idle_timeout.timeout_seconds={ingress.idle_timeout_s}",
        "target-group-attributes": f"deregistration_delay.timeout_seconds={TERMINATION_GRACE_S}",
    }
    document = metadata(environment, environment.name)
    document["annotations"] = {f"{_PREFIX}/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": document,
        "spec": {
            "ingressClassName": INGRESS_CLASS,
            "rules": [
                {
                    "host": ingress.host,
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
                }
            ],
        },
    }


def _gateway(environment: Environment) -> dict[str, Any]:
    """Return the Gateway, which the operator would create without annotations and so with a public address.

    The operator keeps a Gateway of this name whose class and listeners are its own
    (`rayservice_controller.go`, reconcileGateway). Istio copies the annotations to the Gateway's Service.
    """
    document = metadata(environment, f"{environment.name}-gateway")
    del document["labels"]  # Istio copies them to its pods, which are not pods of the service
    document["annotations"] = {
        f"{_NLB}-type": "external",
        f"{_NLB}-scheme": "internal",
        f"{_NLB}-nlb-target-type": "ip",
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": document,
        "spec": {
            "gatewayClassName": environment.upgrade.gateway_class,
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
        },
    }
