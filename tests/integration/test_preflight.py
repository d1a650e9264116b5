"""Tests of a cluster's preflight check: it names each missing part and the command that installs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config

from cluster.__main__ import main
from cluster.aws.addons import read_addons
from cluster.kuberay.client.resources import DEPLOYMENT, GATEWAY_CLASS, INGRESS_CLASS, STORAGE_CLASS
from cluster.kuberay.settings import INCREMENTAL
from tests.integration.kube_api import KubeApi, kube_api
from tests.integration.kube_client import write_kubeconfig

INSTALL = "python -m cluster aws addons"
CLASS = STORAGE_CLASS.path("", "gp3-encrypted")
INGRESS = [
    "--set=ingress.host=sentiment.example.com",
    "--set=ingress.certificate=arn:aws:acm:us-east-1:123456789012:certificate/0a1b",
]
GATEWAY = [f"--set=upgrade.type={INCREMENTAL}", "--set=upgrade.gateway_class=istio"]
KUBERAY, KARPENTER, BALANCERS = "kuberay-operator", "karpenter", "aws-load-balancer-controller"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    """Yield a cluster with every add-on in its pinned version."""
    with kube_api() as api:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, api.url)
        monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        addons = read_addons()
        for name in (KUBERAY, KARPENTER, BALANCERS):
            run(api, name, f"registry.example.com/{name}:v{addons[name].version}")
        api.put(CLASS, {"metadata": {"name": "gp3-encrypted"}})
        api.put(INGRESS_CLASS.path("", "alb"), {"metadata": {"name": "alb"}})
        api.put(GATEWAY_CLASS.path("", "istio"), {"metadata": {"name": "istio"}})
        yield api


def place(name: str) -> str:
    return DEPLOYMENT.path(read_addons()[name].namespace, name)


def run(api: KubeApi, name: str, image: str, *arguments: str) -> None:
    container = {"name": name, "image": image, "args": list(arguments)}
    spec = {"template": {"spec": {"containers": [container]}}}
    api.put(place(name), {"metadata": {"name": name}, "spec": spec})


def applied(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["apply", "--env", "prod", *options])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("options", [[], INGRESS, GATEWAY], ids=["plain", "ingress", "gateway"])
def test_a_complete_cluster_has_no_findings(
    api: KubeApi, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert applied(capsys, *options) == (0, "")


def without(path: str) -> Any:
    return lambda api: api.objects.pop(path)


def absent(group: str) -> Any:
    return lambda api: api.absent.add(group)


def with_image(name: str, image: str, *arguments: str) -> Any:
    return lambda api: run(api, name, image, *arguments)


MISSING = [
    ("no KubeRay", absent("ray.io"), [], ["ray.io/v1", INSTALL]),
    ("old KubeRay", with_image(KUBERAY, "operator:v1.6.2"), [], ["1.6.2", "at least 1.7.0", INSTALL]),
    ("no Karpenter", absent("karpenter.sh"), [], ["karpenter.sh/v1", INSTALL]),
    ("no node class", absent("karpenter.k8s.aws"), [], ["EC2NodeClass", INSTALL]),
    ("old Karpenter", with_image(KARPENTER, "controller:0.37.1@sha256:ab"), [], ["0.37.1", "1.0.0"]),
    ("no StorageClass", without(CLASS), [], ["StorageClass gp3-encrypted", INSTALL]),
    ("no IngressClass", without(INGRESS_CLASS.path("", "alb")), INGRESS, ["IngressClass alb", INSTALL]),
    (
        "no Gateway API",
        absent("gateway.networking.k8s.io"),
        GATEWAY,
        ["Gateway API", "upgrade.type=NewCluster"],
    ),
    ("no class", without(GATEWAY_CLASS.path("", "istio")), GATEWAY, ["GatewayClass istio", "gatewayclass"]),
    (
        "gate off",
        with_image(KUBERAY, "o:v1.7.0", "--feature-gates=RayServiceIncrementalUpgrade=false"),
        GATEWAY,
        ["RayServiceIncrementalUpgrade", "featureGates"],
    ),
]


@pytest.mark.parametrize(
    ("break_it", "options", "expected"), [pytest.param(*case[1:], id=case[0]) for case in MISSING]
)
def test_what_is_missing_stops_the_apply_and_names_the_command(
    api: KubeApi, break_it: Any, options: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(api)
    before = set(api.objects)
    code, told = applied(capsys, *options)
    assert code == 1 and set(api.objects) == before, "nothing was applied"
    lines = [line for line in told.splitlines() if line.startswith("missing: ")]
    assert lines and all(any(one in line for line in lines) for one in expected), told
    assert "--no-preflight" in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("break_it", "options", "expected"),
    [
        (without(place(KUBERAY)), [], "Deployment kuberay-system/kuberay-operator does not exist"),
        (with_image(KUBERAY, "operator:v1.8.0"), [], "not the tested 1.7.0"),
        (with_image(KUBERAY, "operator:nightly"), [], "names no version"),
        (without(place(BALANCERS)), INGRESS, "aws-load-balancer-controller"),
        (lambda api: api.denied.add("storageclasses"), [], "storageclasses is forbidden"),
        (lambda api: api.denied.add("deployments"), [], "deployments is forbidden"),
    ],
)
def test_what_is_unknown_is_a_warning(
    api: KubeApi, break_it: Any, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(api)
    code, told = applied(capsys, *options)
    assert code == 0
    assert any(line.startswith("warning: ") and expected in line for line in told.splitlines()), told


def test_without_need_nothing_is_asked_for(api: KubeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.absent = {"karpenter.sh", "karpenter.k8s.aws", "gateway.networking.k8s.io"}
    api.objects.pop(CLASS)
    assert main(["apply", "--env", "dev"]) == 0
    assert capsys.readouterr().err == ""


def test_the_check_can_be_left_out(api: KubeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.objects.pop(CLASS)
    assert applied(capsys, "--no-preflight") == (0, "")


def test_check_reports_the_cluster_and_the_manifests(
    api: KubeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.objects.pop(CLASS)
    assert main(["check", "--env", "prod"]) == 1
    told = capsys.readouterr().err
    assert "missing: StorageClass gp3-encrypted does not exist" in told and "no schema of RayService" in told
