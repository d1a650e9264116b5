"""Tests of the ingress: one address with TLS, and timeouts that match those of HAProxy and of the pods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ray.serve.config import HTTPOptions

from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.ingress_settings import KEEP_ALIVE_S
from cluster.kuberay.manifests.render import service_documents
from cluster.kuberay.manifests.termination import TERMINATION_GRACE_S
from cluster.kuberay.settings import INCREMENTAL, read_environment
from cluster.kuberay.validation.check import Checker
from serve_app.settings import Settings

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d-4e5f"
INGRESS = ("ingress.host=sentiment.example.com", f"ingress.certificate={CERTIFICATE}")
PUBLIC = (*INGRESS, "ingress.scheme=internet-facing", 'ingress.inbound_cidrs=["0.0.0.0/0"]')
GATEWAY = (f"upgrade.type={INCREMENTAL}", "upgrade.gateway_class=istio")
PREFIX = "alb.ingress.kubernetes.io"


def documents(*changes: str) -> dict[str, dict[str, Any]]:
    """Return the documents by kind; if a kind occurs several times, the one with the service's name."""
    rendered = service_documents(read_environment("prod", changes))
    own = [one for one in rendered if one["metadata"]["name"] == "sentiment"]
    return {one["kind"]: one for one in [*rendered, *own]}


def attribute(annotation: str) -> int:
    return int(annotation.partition("=")[2])


def test_without_a_setting_there_is_no_ingress() -> None:
    assert not {"Ingress", "Gateway"} & documents().keys()


def test_the_load_balancer_is_internal_and_speaks_tls_to_the_service() -> None:
    rendered = documents(*INGRESS)
    ingress, service = rendered["Ingress"], rendered["Service"]
    told = ingress["metadata"]["annotations"]
    assert told[f"{PREFIX}/scheme"] == "internal"
    assert json.loads(told[f"{PREFIX}/listen-ports"]) == [{"HTTPS": 443}]
    assert told[f"{PREFIX}/certificate-arn"] == CERTIFICATE
    assert told[f"{PREFIX}/inbound-cidrs"] == "10.40.0.0/16"
    [rule] = ingress["spec"]["rules"]
    assert rule["host"] == "sentiment.example.com"
    [path] = rule["http"]["paths"]
    backend = path["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["number"] in [port["port"] for port in service["spec"]["ports"]]


def test_the_health_check_is_a_route_that_needs_no_key() -> None:
    from serve_app.http.auth import _OPEN_ROUTES

    assert (
        documents(*INGRESS)["Ingress"]["metadata"]["annotations"][f"{PREFIX}/healthcheck-path"]
        in _OPEN_ROUTES
    )


def test_idle_and_deregistration_times_fit_the_service() -> None:
    told = documents(*INGRESS)["Ingress"]["metadata"]["annotations"]
    assert attribute(told[f"{PREFIX}/target-group-attributes"]) >= TERMINATION_GRACE_S
    idle_s = attribute(told[f"{PREFIX}/load-balancer-attributes"])
    assert Settings.model_fields["default_timeout_ms"].default / 1000 <= idle_s < KEEP_ALIVE_S
    assert HTTPOptions().keep_alive_timeout_s == KEEP_ALIVE_S, "HAProxy's `timeout http-keep-alive`"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (("ingress.host=sentiment.example.com",), "certificate"),
        ((*INGRESS, "ingress.certificate=mine"), "certificate"),
        ((*INGRESS, "ingress.host=sentiment"), "host"),
        ((*INGRESS, f"ingress.idle_timeout_s={KEEP_ALIVE_S}"), "idle_timeout_s"),
        ((*INGRESS, "ingress.idle_timeout_s=20"), "request timeout of 30 s"),
        ((*INGRESS, "environment.SENTIMENT_DEFAULT_TIMEOUT_MS='70000'"), "request timeout of 70 s"),
        ((*INGRESS, "network.client_cidrs=[]"), "network.client_cidrs"),
        ((*INGRESS, "ingress.scheme=internet-facing"), "inbound_cidrs"),
        (PUBLIC, "api_keys_secret"),
        ((*INGRESS, 'network.client_cidrs=["10.40.0.0/33"]'), "10.40.0.0/33"),
        ((*INGRESS, 'network.client_cidrs=["10.40.0.1/16"]'), "has host bits set"),
        (("auth=disabled",), "control_plane_cidrs"),
        ((*INGRESS, *GATEWAY), "upgrade.type"),
    ],
)
def test_what_would_fail_or_be_open_is_refused(changes: tuple[str, ...], expected: str) -> None:
    with pytest.raises(EnvironmentSettingsError, match=expected):
        read_environment("prod", changes)


def test_a_public_address_needs_keys() -> None:
    told = documents(*PUBLIC, "api_keys_secret=api-keys")["Ingress"]["metadata"]["annotations"]
    assert told[f"{PREFIX}/scheme"] == "internet-facing" and told[f"{PREFIX}/inbound-cidrs"] == "0.0.0.0/0"


def test_the_gateway_of_an_incremental_upgrade_is_internal_and_as_the_operator_makes_it() -> None:
    gateway = documents(*GATEWAY)["Gateway"]
    assert gateway["metadata"]["name"] == "sentiment-gateway"
    assert gateway["spec"] == {
        "gatewayClassName": "istio",
        "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
    }
    scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme"
    assert gateway["metadata"]["annotations"][scheme] == "internal"
    assert "labels" not in gateway["metadata"], (
        "Istio copies them to its pods, which would count as the service's"
    )


def test_the_ingress_is_valid(checker: Checker) -> None:
    faults = checker.check(service_documents(read_environment("prod", INGRESS)))
    assert not faults, faults
    wrong = documents(*INGRESS)["Ingress"]
    wrong["spec"]["ingresClassName"] = wrong["spec"].pop("ingressClassName")
    assert checker.check([wrong])


def test_the_disk_of_redis_names_its_class() -> None:
    [claim] = documents()["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "gp3-encrypted"
    [other] = documents("redis.storage_class=io2")["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert other["spec"]["storageClassName"] == "io2"


@pytest.mark.parametrize("address", ["cache.internal:6380", "rediss://cache.internal:6380"])
def test_an_existing_redis_is_used_by_its_address(address: str) -> None:
    rendered = documents(f"redis.address={address}")
    assert "StatefulSet" not in rendered
    cluster = rendered["RayService"]["spec"]["rayClusterConfig"]
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"] == address
    assert {"ports": [{"port": 6380, "protocol": "TCP"}]} in rendered["NetworkPolicy"]["spec"]["egress"]


@pytest.mark.parametrize(
    "address", ["cache.internal", "https://cache.internal:6379", "cache.internal:6379/0"]
)
def test_an_address_that_ray_cannot_read_is_refused(address: str) -> None:
    with pytest.raises(EnvironmentSettingsError, match=r"redis\.address"):
        read_environment("prod", [f"redis.address={address}"])
