"""Tests of the registry's aliases before, during and after a rollout of registered versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.rollout.errors import RolloutRegistryError
from cluster.rollout.plan import RolloutPlan
from cluster.rollout.registry import RegistryAliases, find
from cluster.rollout.state import ModelVersion, Rollout, RolloutState, Verb
from cluster.rollout.targets.base import TrafficSplit
from tests.integration.registries import write_run
from tests.unit.cluster.rollout.world import MODELS, QUICK, SimulatedCrashError, World
from train.errors import RegistryUnavailableError
from train.registry import Registry, Version, open_registry


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Return a registry with versions 1 and 2 of a model."""
    folder = tmp_path_factory.mktemp("registry")
    registry = open_registry(f"sqlite:///{folder}/registry.db")
    for version in ("1", "2"):
        registry.register(write_run(folder / version, name="senti", version=version))
    return registry


@pytest.fixture
def registry(registered: Registry) -> Registry:
    """Return the registry with version 1 as the only champion so far, and no canary."""
    registered.set_alias("senti", "champion", "1")
    RegistryAliases(lambda: registered).move("senti", "canary", None)
    return registered


def aliases(registry: Registry) -> dict[str, str]:
    return {alias: version.version for version in registry.versions("senti") for alias in version.aliases}


def world(folder: Path, champion: Version) -> World:
    """Return pods that serve version 1's bundle."""
    return World(folder, split=TrafficSplit(champion.uri), live=[champion.uri])


def roll_out(world: World, registry: Registry, canary: str, plan: RolloutPlan = QUICK) -> Rollout:
    found = find(canary, lambda: registry)
    assert found is not None
    version = found.champion_version(world.split.champion)
    controller = world.controller(RegistryAliases(lambda: registry))
    return controller.start(found.canary, plan, champion_version=version, model=found.model)


@pytest.fixture
def uris(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Define the behavior of the world's models at the bundles' addresses."""
    found = {version.version: version.uri for version in registry.versions("senti")}
    monkeypatch.setitem(MODELS, found["1"], MODELS["old"])
    monkeypatch.setitem(MODELS, found["2"], MODELS["good"])
    return found


def test_the_aliases_move_with_a_version_that_is_promoted(
    registry: Registry, uris: dict[str, str], tmp_path: Path
) -> None:
    pods = world(tmp_path, registry.get("senti/1"))
    during: list[dict[str, str]] = []
    pods.on_sleep = lambda: during.append(aliases(registry)) if pods.split.canary and not during else None
    rollout = roll_out(pods, registry, "registry:senti/2")
    assert rollout.state is RolloutState.PROMOTED
    assert (rollout.champion, rollout.canary) == (ModelVersion(uris["1"], "1"), ModelVersion(uris["2"], "2"))
    assert during[0] | {"previous": ""} == {"champion": "1", "canary": "2", "previous": ""}
    assert aliases(registry) == {"champion": "2", "previous": "1"}
    assert pods.split == TrafficSplit(uris["2"]), "the pods are told the bundle's address"


def test_the_aliases_are_as_before_when_it_is_rolled_back(
    registry: Registry, uris: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, uris["2"], MODELS["stuck"])
    registry.set_alias("senti", "canary", "2")
    rollout = roll_out(world(tmp_path, registry.get("senti/1")), registry, "registry:senti@canary")
    assert rollout.state is RolloutState.ROLLED_BACK
    now = aliases(registry)
    assert now["champion"] == "1" and "canary" not in now


def test_a_controller_that_died_while_it_moved_them_is_taken_up(
    registry: Registry, uris: dict[str, str], tmp_path: Path
) -> None:
    pods = world(tmp_path, registry.get("senti/1"))

    class Dying(RegistryAliases):
        def move(self, model: str, alias: str, version: str | None) -> None:
            super().move(model, alias, version)
            if (alias, version) == ("champion", "2"):
                raise SimulatedCrashError

    with pytest.raises(SimulatedCrashError):
        pods.controller(Dying(lambda: registry)).start(
            ModelVersion(uris["2"], "2"), QUICK, champion_version="1", model="senti"
        )
    assert pods.journal().rollout().state is RolloutState.PROMOTING
    rollout = pods.controller(RegistryAliases(lambda: registry)).resume()
    assert rollout is not None and rollout.state is RolloutState.PROMOTED
    assert aliases(registry) == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize("dies_at", [("champion", "2"), ("canary", None)])
def test_an_abort_during_the_promotion_leaves_every_alias_as_it_was(
    registry: Registry, uris: dict[str, str], tmp_path: Path, dies_at: tuple[str, str | None]
) -> None:
    """Abort during the promotion: `previous` names no version that was never permanently the champion."""
    pods, before = world(tmp_path, registry.get("senti/1")), aliases(registry)

    class Dying(RegistryAliases):
        def move(self, model: str, alias: str, version: str | None) -> None:
            super().move(model, alias, version)
            if (alias, version) == dies_at:
                raise SimulatedCrashError

    with pytest.raises(SimulatedCrashError):
        pods.controller(Dying(lambda: registry)).start(
            ModelVersion(uris["2"], "2"), QUICK, champion_version="1", model="senti"
        )
    assert aliases(registry)["champion"] == "2"
    rollout = pods.controller(RegistryAliases(lambda: registry)).ask(Verb.ABORT)
    assert rollout.state is RolloutState.ROLLED_BACK
    assert aliases(registry) == before


def test_a_registry_that_does_not_answer_stops_the_controller_and_not_the_pods(
    registry: Registry, uris: dict[str, str], tmp_path: Path
) -> None:
    def down() -> Registry:
        raise RegistryUnavailableError("nobody answers")

    pods = world(tmp_path, registry.get("senti/1"))
    with pytest.raises(RolloutRegistryError, match="rollout resume"):
        pods.controller(RegistryAliases(down)).start(ModelVersion(uris["2"], "2"), QUICK, model="senti")
    assert pods.journal().rollout().state is RolloutState.CANARY and pods.split == TrafficSplit(uris["1"])


@pytest.mark.parametrize("address", ["registry:senti/9", "registry:nothing/1", "registry:senti"])
def test_a_version_that_is_not_there_is_refused(registry: Registry, address: str) -> None:
    with pytest.raises(RolloutRegistryError, match=address.partition(":")[2]):
        find(address, lambda: registry)


def test_other_addresses_are_not_the_registrys() -> None:
    def never() -> Registry:
        raise AssertionError("it need not be opened")

    opened: Callable[[], Registry] = never
    assert find("s3://models/sentiment/7", opened) is None


def test_what_is_served_and_not_registered_leaves_the_champion_to_the_registry(registry: Registry) -> None:
    found = find("registry:senti/2", lambda: registry)
    assert found is not None
    assert found.champion_version("builtin:") == "1"
    assert found.champion_version(registry.get("senti/2").uri) == "2"
