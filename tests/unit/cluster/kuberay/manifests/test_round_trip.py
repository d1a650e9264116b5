"""Tests that rendered manifests survive an Update by KubeRay's operator, with Go's types, unchanged.

Go omits the zero value of a field that is marked `omitempty`, and writes a quantity in its canonical form.
Fields that keep a zero value are pointers, or are always written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.errors import EnvironmentSettingsError
from cluster.kuberay.client.resources import RAY_KINDS
from cluster.kuberay.manifests.render import service_documents, training_documents
from cluster.kuberay.settings import Environment, environments, read_environment

KEPT_ZEROS = {
    "replicas",
    "minReplicas",
    "backoffLimit",
    "maxSurgePercent",
    "allowPrivilegeEscalation",
    "enableServiceLinks",
    "emptyDir",
    "rayStartParams",
    "scaleStrategy",
}
"""Fields that keep a zero value, from the Go types of KubeRay 1.7.0 and of Kubernetes."""
ZEROS = ("0", '""', "[]", "{}", "false")


def zeros(value: Any, place: str = "") -> Iterator[str]:
    """Yield the paths of all values that are Go's zero value."""
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from zeros(child, f"{place}.{key}")
    elif isinstance(value, list) and value:
        for number, child in enumerate(value):
            yield from zeros(child, f"{place}.{number}")
    elif not value:
        yield place


def settings_of(tree: Any, place: str = "") -> Iterator[str]:
    """Yield every setting by the name that `--set` uses."""
    if place:
        yield place
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, tuple) else ()
    for key, child in children:
        yield from settings_of(child, f"{place}.{key}".strip("."))


def ray_documents(environment: Environment) -> list[dict[str, Any]]:
    documents = service_documents(environment) + training_documents(environment)
    return [one for one in documents if one["kind"].lower() in RAY_KINDS]


def variants(name: str) -> Iterator[tuple[str, Environment]]:
    """Yield the environment with each setting at each valid zero value, and with additional settings."""
    given = read_environment(name)
    for setting in settings_of(given.model_dump()):
        for zero in ZEROS:
            with contextlib.suppress(EnvironmentSettingsError):
                yield f"{setting}={zero}", read_environment(name, [f"{setting}={zero}"])
    for change in ('environment.EMPTY=""', "head.memory_gib=2048", "api_keys_secret=k", "pull_secret=p"):
        yield change, read_environment(name, [change])


@pytest.mark.parametrize("name", environments())
def test_no_zero_value_is_rendered_that_the_operator_would_drop(name: str) -> None:
    tried = []
    for change, environment in variants(name):
        tried.append(change)
        for document in ray_documents(environment):
            dropped = [
                place for place in zeros(document["spec"]) if place.rpartition(".")[2] not in KEPT_ZEROS
            ]
            assert dropped == [], f"{name} with {change}: {document['kind']}"
    assert {"training.keep_s=0", "workers.0.min_pods=0", 'environment.EMPTY=""'} <= {*tried}


@pytest.mark.parametrize("name", environments())
def test_what_the_operator_always_writes_is_rendered(name: str) -> None:
    for document in ray_documents(read_environment(name)):
        cluster = document["spec"].get("rayClusterConfig") or document["spec"]["rayClusterSpec"]
        assert all(group["scaleStrategy"] == {} for group in cluster["workerGroupSpecs"])


def test_quantities_are_canonical() -> None:
    for gib, written in ((8, "8Gi"), (1000, "1000Gi"), (1024, "1Ti"), (1536, "1536Gi"), (2048, "2Ti")):
        (service, _) = ray_documents(read_environment("dev", [f"head.memory_gib={gib}"]))
        head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        assert head["resources"]["requests"]["memory"] == written
