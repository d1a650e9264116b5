"""Tests that a new cluster starts with as many pods as the old one has, and never returns to that number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config

from cluster.__main__ import main
from cluster.kuberay.client.client import ClientTiming, KubeRay
from cluster.kuberay.client.resources import RAY_SERVICE
from cluster.rollout.targets.base import TrafficSplit
from cluster.rollout.targets.rayservice import RayServiceTarget
from tests.integration.kube_api import KubeApi, kube_api
from tests.integration.kube_client import client_of, write_kubeconfig

NAMESPACE, NAME = "sentiment-dev", "sentiment"
PATH = RAY_SERVICE.path(NAMESPACE, NAME)
SETTINGS = {"serve.min_pods": 2, "serve.max_pods": 6, "workers.0.max_pods": 6}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubeApi]:
    with kube_api() as api:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(path, api.url)
        monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        assert cli("apply") == 0
        yield api


def cli(verb: str, *options: str, **settings: object) -> int:
    changes = SETTINGS | {key.replace("__", "."): value for key, value in settings.items()}
    return main([verb, "--env", "dev", *options, *(f"--set={key}={value}" for key, value in changes.items())])


def serving(api: KubeApi, pods: int) -> None:
    """Set the number of ready endpoints that the operator counts."""
    api.set_status(PATH, {"numServeEndpoints": pods})


def scaling(api: KubeApi) -> dict[str, Any]:
    [application] = yaml.safe_load(api.objects[PATH]["spec"]["serveConfigV2"])["applications"]
    [deployment] = application["deployments"]
    told: dict[str, Any] = deployment["autoscaling_config"]
    return told


def initial(api: KubeApi) -> int | None:
    return scaling(api).get("initial_replicas")


@pytest.mark.parametrize(("pods", "starts_with"), [(0, None), (1, None), (2, None), (3, 3), (6, 6), (9, 6)])
def test_a_new_cluster_starts_with_the_pods_that_serve(
    api: KubeApi, pods: int, starts_with: int | None
) -> None:
    serving(api, pods)
    assert cli("apply", image="senti:2") == 0
    assert initial(api) == starts_with


@pytest.mark.parametrize("change", ["image='senti:2'", "head.cpus=2", "environment.MODE='new'"])
def test_it_is_for_whatever_makes_a_new_cluster(api: KubeApi, change: str) -> None:
    serving(api, 4)
    key, _, value = change.partition("=")
    assert cli("apply", **{key: value}) == 0
    assert initial(api) == 4


def test_a_service_that_is_new_or_keeps_its_cluster_has_no_such_number(api: KubeApi) -> None:
    assert initial(api) is None
    serving(api, 4)
    assert cli("apply") == 0
    assert initial(api) is None
    assert cli("apply", serve__max_pods=5, workers__0__max_pods=5) == 0
    assert initial(api) is None
    assert scaling(api)["max_replicas"] == 5


def test_an_apply_that_changes_nothing_keeps_it_and_a_diff_is_empty(
    api: KubeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    serving(api, 4)
    assert cli("apply", image="senti:2") == 0
    serving(api, 6)
    before = api.objects[PATH]["spec"]
    capsys.readouterr()
    assert cli("diff", image="senti:2") == 0, capsys.readouterr().out
    assert cli("apply", image="senti:2") == 0
    assert api.objects[PATH]["spec"] == before


def test_a_diff_shows_it_before_an_upgrade(api: KubeApi, capsys: pytest.CaptureFixture[str]) -> None:
    serving(api, 4)
    assert cli("diff", image="senti:2") == 1
    assert "+       initial_replicas: 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", [{"serve__max_pods": 5}, {"serve__min_pods": 1}, {"serve__model": "hf:a@b"}]
)
def test_a_later_change_of_the_application_leaves_the_number_to_the_autoscaler(
    api: KubeApi, change: dict[str, object]
) -> None:
    serving(api, 4)
    assert cli("apply", image="senti:2") == 0
    assert initial(api) == 4
    assert cli("apply", image="senti:2", **change) == 0
    assert initial(api) is None


def test_a_rollout_leaves_the_number_to_the_autoscaler_and_an_upgrade_of_its_service_sets_it_again(
    api: KubeApi,
) -> None:
    serving(api, 4)
    assert cli("apply", image="senti:2") == 0
    target = RayServiceTarget(client(api), NAMESPACE, NAME)
    target.apply(TrafficSplit("hf:other@main"))
    assert initial(api) is None
    serving(api, 5)
    assert cli("apply", image="senti:2") == 0
    assert initial(api) is None
    assert cli("apply", image="senti:3") == 0
    assert initial(api) == 5
    assert cli("diff", image="senti:3") == 0
    assert target.read().split == TrafficSplit("hf:other@main"), "the models are still the rollout's"


def test_an_upgrade_through_a_gateway_follows_the_traffic_that_moves(api: KubeApi) -> None:
    serving(api, 4)
    gateway = {
        "upgrade.type": "NewClusterWithIncrementalUpgrade",
        "upgrade.gateway_class": "istio",
        "image": "senti:2",
    }
    assert cli("apply", "--no-preflight", **gateway) == 0
    assert initial(api) is None


def client(api: KubeApi) -> KubeRay:
    return client_of(api.url, ClientTiming(patience_s=1))
