"""Tests of a RayService rollout over HTTP with a faulty API: it succeeds, or reports the reason.

The pods are the simulated ones of the controller's tests; everything above them is real: controller, journal,
target, Kubernetes client, and the pods' metrics through the API server's proxy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import config

from cluster.__main__ import main
from cluster.errors import ConflictError
from cluster.kuberay.client.client import FIELD_MANAGER, ClientTiming, KubeRay
from cluster.kuberay.client.field_ownership import ROLLOUT_MANAGER, apply, holders
from cluster.kuberay.manifests.render import service_documents
from cluster.kuberay.settings import read_environment
from cluster.rollout.controller import Controller
from cluster.rollout.errors import (
    ForeignChangeError,
    LeaseLostError,
    RolloutStateError,
    TargetError,
    TargetRejectedError,
)
from cluster.rollout.plan import CanaryPods
from cluster.rollout.pod_metrics import PodMetrics
from cluster.rollout.state import ModelVersion, Rollout, RolloutState
from cluster.rollout.targets.base import SplitGuard, TrafficSplit
from cluster.rollout.targets.rayservice import RayServiceTarget
from tests.integration.kube_api import DROP, HANG, LOST, Fault, KubeApi, kube_api
from tests.integration.kube_client import client_of, write_kubeconfig
from tests.integration.rayservice_world import NAME, NAMESPACE, PATH, Operator
from tests.unit.cluster.rollout.world import QUICK, SimulatedCrashError, World

ONE_POD, HALF = CanaryPods(1, shadow=False), CanaryPods(2, shadow=False)
ARGO = "argocd-controller"


def wish(*changes: str) -> dict[str, Any]:
    """Return the service of the settings, with the model that the world calls old."""
    return service_documents(read_environment("prod", ["serve.model=old", *changes]))[-1]


class Cluster:
    """Cluster with the service, and its controllers."""

    def __init__(self, api: KubeApi, folder: Path) -> None:
        self.api = api
        self.world = World(folder)
        self.client = self.client_of()
        apply(self.client, wish())
        self.operator = Operator(api, self.world)
        self.take_over = False
        self.said: list[str] = []
        self.settle()

    def settle(self) -> None:
        """Read until the operator has applied the configuration."""
        looks = iter(range(20))
        while not self.target.read().settled:
            next(looks)

    def client_of(self) -> KubeRay:
        pace = ClientTiming(now=lambda: self.world.now, pause=self.world.sleep, patience_s=10, read_s=0.3)
        return client_of(self.api.url, pace)

    @property
    def target(self) -> RayServiceTarget:
        return RayServiceTarget(self.client, NAMESPACE, NAME, take_over=self.take_over)

    def controller(self) -> Controller:
        world = self.world
        return Controller(
            world.journal(),
            self.target,
            PodMetrics(self.client, NAMESPACE, NAME),
            aliases=world,
            clock=lambda: world.now,
            sleep=world.sleep,
            on_progress=lambda rollout, line, decision: self.said.append(line),
        )

    def start(self, canary: str = "good", **options: Any) -> Rollout:
        return self.controller().start(ModelVersion(canary), QUICK, **options)

    def resume(self) -> Rollout:
        return self.controller().resume()

    def owners(self) -> frozenset[str]:
        return holders(self.api.shown(PATH))

    def serve_config(self) -> dict[str, Any]:
        told: dict[str, Any] = yaml.safe_load(self.api.objects[PATH]["spec"]["serveConfigV2"])
        return told

    def when_canary_is_in(self, happens: Callable[[], None]) -> None:
        """Call `happens` once while the canary is observed."""

        def look() -> None:
            if self.world.split.canary and self.world.journal().rollout().applied_at is not None:
                self.world.on_sleep = lambda: None
                happens()

        self.world.on_sleep = look


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with kube_api() as api:
        yield Cluster(api, tmp_path / "journal")


def seldom(fault: Fault, every: int) -> Callable[[int, str, str], Fault]:
    return lambda number, method, path: fault if number % every == 0 else None


def test_a_good_canary_is_promoted_and_nothing_but_the_model_changed(cluster: Cluster) -> None:
    before = cluster.api.objects[PATH]["spec"]
    assert cluster.start().state is RolloutState.PROMOTED
    wanted = [
        TrafficSplit("old"),
        TrafficSplit("old", "good", ONE_POD),
        TrafficSplit("old", "good", HALF),
        TrafficSplit("good"),
    ]
    assert cluster.world.splits == wanted
    assert cluster.owners() == {ROLLOUT_MANAGER}
    after = cluster.api.objects[PATH]["spec"]
    assert {**after, "serveConfigV2": ""} == {**before, "serveConfigV2": ""}
    told = cluster.serve_config()
    told["applications"][0]["deployments"][0]["user_config"] = {"champion": {"model": "old"}}
    assert told == yaml.safe_load(before["serveConfigV2"])


@pytest.mark.parametrize("canary", ["failing", "stuck", "broken"])
def test_a_bad_canary_is_taken_back(cluster: Cluster, canary: str) -> None:
    assert cluster.start(canary).state is RolloutState.ROLLED_BACK
    assert cluster.world.splits[-1] == cluster.target.read().split == TrafficSplit("old")


@pytest.mark.parametrize(("fault", "every"), [(500, 3), (503, 5), (429, 3), (DROP, 5), (LOST, 3), (LOST, 5)])
def test_it_is_promoted_though_calls_fail(cluster: Cluster, fault: Fault, every: int) -> None:
    cluster.operator.fault = seldom(fault, every)
    assert cluster.start().state is RolloutState.PROMOTED
    assert cluster.target.read().split == TrafficSplit("good")
    assert cluster.operator.calls > 50


def test_it_is_promoted_though_some_calls_are_never_answered(cluster: Cluster) -> None:
    cluster.operator.fault = seldom(HANG, 17)
    assert cluster.start().state is RolloutState.PROMOTED


def test_an_operator_that_writes_all_the_time_is_no_conflict(cluster: Cluster) -> None:
    """Write a status before each change: the change of the older version is refused, and made again."""
    cluster.operator.busy = True
    turns = itertools.cycle((True, False))

    def write_before_patch(number: int, method: str, path: str) -> Fault:
        if method == "PATCH" and next(turns):
            cluster.api.set_status(PATH, cluster.api.objects[PATH]["status"])
        return None

    cluster.operator.fault = write_before_patch
    assert cluster.start().state is RolloutState.PROMOTED
    assert cluster.api.calls.count(("PATCH", PATH)) > len(cluster.world.splits), "some were refused"


def test_a_service_that_never_stays_the_same_is_given_up(cluster: Cluster) -> None:
    cluster.start()
    writes = cluster.api.calls.count(("PATCH", PATH))

    def write_before_patch(number: int, method: str, path: str) -> Fault:
        if method == "PATCH":
            cluster.api.set_status(PATH, {"numServeEndpoints": 4})
        return None

    cluster.operator.fault = write_before_patch
    with pytest.raises(TargetError, match="has been modified"):
        cluster.target.apply(TrafficSplit("old"))
    assert cluster.api.calls.count(("PATCH", PATH)) == writes + 10
    assert cluster.target.read().split == TrafficSplit("good")


def test_a_service_of_another_manager_is_refused_before_anything_is_begun(cluster: Cluster) -> None:
    cluster.api.update(PATH, wish(), ARGO)
    cluster.settle()
    before = cluster.api.version
    with pytest.raises(RolloutStateError, match=rf"{ARGO}.*--take-over"):
        cluster.start()
    assert cluster.api.version == before and cluster.world.journal().entries() == []
    with pytest.raises(TargetRejectedError, match=ARGO):
        cluster.target.apply(TrafficSplit("good"))
    cluster.take_over = True
    assert cluster.start().state is RolloutState.PROMOTED
    assert cluster.owners() == {ROLLOUT_MANAGER}


def test_what_another_manager_puts_back_is_noticed_and_ends_the_rollout(cluster: Cluster) -> None:
    cluster.when_canary_is_in(lambda: cluster.api.update(PATH, wish(), ARGO))
    rollout = cluster.start()
    assert rollout.state is RolloutState.STOPPED and "another program or person changed" in rollout.reason
    assert cluster.owners() == {ARGO}


def test_what_another_manager_has_the_pods_serve_stays(cluster: Cluster) -> None:
    cluster.when_canary_is_in(lambda: cluster.api.update(PATH, wish("serve.model=failing"), ARGO))
    rollout = cluster.start()
    assert rollout.state is RolloutState.STOPPED and "to failing; the rollout leaves" in rollout.reason
    assert cluster.target.read().split == TrafficSplit("failing") and cluster.owners() == {ARGO}


def test_what_another_manager_owns_cannot_be_taken_back_and_that_is_said(cluster: Cluster) -> None:
    """Let another manager take the field over and leave the models unchanged."""

    def take_over() -> None:
        both = {**wish(), "spec": {"serveConfigV2": cluster.api.objects[PATH]["spec"]["serveConfigV2"]}}
        cluster.api.update(PATH, both, ARGO)

    cluster.when_canary_is_in(take_over)
    with pytest.raises(TargetError, match=rf"champion is not back.*{ARGO}.*rollout resume"):
        cluster.start("failing")
    rollout = cluster.world.journal().rollout()
    assert rollout.state is RolloutState.ROLLING_BACK
    assert cluster.world.now - rollout.since < QUICK.apply_timeout_s, "it is not asked again and again"
    cluster.api.owners[PATH].pop(ARGO)
    assert cluster.resume().state is RolloutState.ROLLED_BACK
    assert cluster.world.split == TrafficSplit("old")


def test_a_stale_change_is_refused_by_what_it_would_replace(cluster: Cluster) -> None:
    told = frozenset((TrafficSplit("old"), TrafficSplit("good")))
    cluster.target.apply(TrafficSplit("good"), SplitGuard(told, 7))
    assert (cluster.target.read().split, cluster.target.read().fence) == (TrafficSplit("good"), 7)
    with pytest.raises(LeaseLostError, match="by change 7 of another controller, later than change 6"):
        cluster.target.apply(TrafficSplit("old"), SplitGuard(told, 6))
    with pytest.raises(ForeignChangeError, match="another program or person changed"):
        cluster.target.apply(TrafficSplit("old"), SplitGuard(frozenset((TrafficSplit("old"),)), 8))
    assert (cluster.target.read().split, cluster.target.read().fence) == (TrafficSplit("good"), 7)


def test_an_apply_of_the_cluster_leaves_the_canary_where_it_is(cluster: Cluster) -> None:
    notes: list[str] = []

    def change_bounds() -> None:
        notes.append(apply(cluster.client, wish("serve.max_pods=8", "upgrade.type=None")).note)

    cluster.when_canary_is_in(change_bounds)
    assert cluster.start().state is RolloutState.PROMOTED
    assert "keeps the models" in notes[0] and '"good"' in notes[0]
    spec = cluster.api.objects[PATH]["spec"]
    assert spec["upgradeStrategy"] == {"type": "None"}
    [deployment] = cluster.serve_config()["applications"][0]["deployments"]
    assert deployment["autoscaling_config"]["max_replicas"] == 8
    assert TrafficSplit("old") not in cluster.world.splits[1:]
    assert cluster.owners() == {ROLLOUT_MANAGER}


def test_an_apply_takes_nothing_from_another_manager_on_a_rollouts_behalf(cluster: Cluster) -> None:
    cluster.start()
    both = {**wish(), "spec": {"serveConfigV2": cluster.api.objects[PATH]["spec"]["serveConfigV2"]}}
    cluster.api.apply(PATH, both, ARGO, force=False, dry_run=False)
    with pytest.raises(ConflictError, match=ARGO):
        apply(cluster.client, wish("serve.max_pods=8"))
    assert cluster.owners() == {ROLLOUT_MANAGER, ARGO}


def test_an_apply_by_force_takes_the_canary_out_and_the_rollout_ends(cluster: Cluster) -> None:
    def by_force() -> None:
        apply(cluster.client, wish(), force=True, keep_models=False)

    cluster.when_canary_is_in(by_force)
    rollout = cluster.start()
    assert rollout.state is RolloutState.STOPPED and "another program or person changed" in rollout.reason
    assert cluster.target.read().split == TrafficSplit("old")


def test_an_apply_that_meets_a_rollouts_step_is_made_again(cluster: Cluster) -> None:
    cluster.start()
    steps = iter([TrafficSplit("good", "failing", ONE_POD)])
    other = RayServiceTarget(cluster.client_of(), NAMESPACE, NAME)

    def step_before_patch(number: int, method: str, path: str) -> Fault:
        if method == "PATCH" and (split := next(steps, None)):
            text = yaml.safe_load(cluster.api.objects[PATH]["spec"]["serveConfigV2"])
            text["applications"][0]["deployments"][0]["user_config"] = {
                "champion": {"model": split.champion},
                "canary": {"model": split.canary, "replicas": 1},
            }
            step = {**wish(), "spec": {"serveConfigV2": yaml.safe_dump(text)}}
            cluster.api.apply(PATH, step, ROLLOUT_MANAGER, force=True, dry_run=False)
        return None

    cluster.operator.fault = step_before_patch
    apply(cluster.client, wish("serve.max_pods=8"))
    assert other.read().split == TrafficSplit("good", "failing", ONE_POD)
    [deployment] = cluster.serve_config()["applications"][0]["deployments"]
    assert deployment["autoscaling_config"]["max_replicas"] == 8


def test_an_api_that_is_away_while_a_canary_is_taken_back(cluster: Cluster) -> None:
    cluster.operator.fault = None

    def away() -> None:
        cluster.operator.fault = lambda number, method, path: 503 if path == PATH else None

    cluster.when_canary_is_in(away)
    with pytest.raises(TargetError, match=r"503.*rollout resume"):
        cluster.start("failing")
    assert cluster.world.split.canary == "failing", "the pods go on with what they were told"
    assert cluster.world.journal().rollout().state is RolloutState.ROLLING_BACK
    cluster.operator.fault = None
    assert cluster.resume().state is RolloutState.ROLLED_BACK


def test_an_operator_that_is_away_is_waited_for_and_then_told_of(cluster: Cluster) -> None:
    cluster.operator.absent = True
    with pytest.raises(TargetError, match="operator has not processed this version"):
        cluster.start()
    reasons = [entry.get("reason", "") for entry in cluster.world.journal().entries()]
    assert "not deployed within 60 s" in reasons[-1]
    cluster.operator.absent = False
    assert cluster.resume().state is RolloutState.ROLLED_BACK


def test_what_serve_cannot_deploy_is_taken_back_with_serves_reason(cluster: Cluster) -> None:
    cluster.operator.refuses = "good"
    rollout = cluster.start()
    assert rollout.state is RolloutState.ROLLED_BACK and "Serve cannot deploy good" in rollout.reason


def test_a_service_that_is_deleted_ends_the_rollout_with_that_word(cluster: Cluster) -> None:
    cluster.when_canary_is_in(lambda: cluster.api.remove(PATH))
    with pytest.raises(TargetError, match='rayservices "sentiment" not found'):
        cluster.start()
    assert "no usable metrics within 600 s" in cluster.world.journal().entries()[-1]["reason"]


def test_pods_that_may_not_be_read_end_in_a_rollback_that_says_so(cluster: Cluster) -> None:
    cluster.operator.fault = lambda number, method, path: 403 if "/proxy/" in path else None
    rollout = cluster.start()
    assert rollout.state is RolloutState.ROLLED_BACK and "no usable metrics" in rollout.reason
    assert any("not allowed" in line for line in cluster.said)


@pytest.mark.parametrize("naps", [3, 25])
def test_a_controller_that_dies_is_taken_up_by_the_next(cluster: Cluster, naps: int) -> None:
    left = iter(range(naps))

    def die() -> None:
        if next(left, None) is None:
            raise SimulatedCrashError

    cluster.world.on_sleep = die
    with pytest.raises(SimulatedCrashError):
        cluster.start()
    cluster.world.on_sleep = lambda: None
    assert cluster.start().state is RolloutState.PROMOTED
    assert cluster.target.read().split == TrafficSplit("good")


def test_one_pod_is_raised_to_two_and_put_back(cluster: Cluster) -> None:
    cluster.world.replicas = 1
    apply(cluster.client, wish("serve.min_pods=1"))
    cluster.settle()
    assert cluster.start(raise_to_two=True).state is RolloutState.PROMOTED
    assert cluster.world.replicas == 2
    [deployment] = cluster.serve_config()["applications"][0]["deployments"]
    assert deployment["autoscaling_config"]["min_replicas"] == 1


def test_the_verbs(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_kubeconfig(tmp_path / "config", cluster.api.url)
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
    place = ["--target", "rayservice", "--journal", str(tmp_path / "journal")]
    cluster.start()
    capsys.readouterr()
    assert main(["rollout", "status", *place]) == 0
    told = capsys.readouterr()
    assert "promoted" in told.out and "good" in told.out and not told.err
    assert main(["apply", "--env", "prod", "--no-preflight", "--set", "serve.max_pods=8"]) == 0
    assert 'applied; keeps the models of a rollout, {"champion": {"model": "good"}' in capsys.readouterr().out
    assert main(["diff", "--env", "prod", "--set", "serve.max_pods=8"]) == 0
    assert main(["diff", "--env", "prod"]) == 1
    assert "max_replicas: 8" in capsys.readouterr().out
    assert main(["apply", "--env", "prod", "--no-preflight", "--force"]) == 0
    assert "replaces the models of a rollout" in capsys.readouterr().out
    assert cluster.owners() == {FIELD_MANAGER}
    cluster.api.update(PATH, wish(), ARGO)
    assert main(["rollout", "start", "--canary", "x", *place]) == 1
    assert ARGO in capsys.readouterr().err
    assert main(["rollout", "status", *place, "--context", "nowhere"]) == 0
    assert "warning: no cluster" in capsys.readouterr().err
