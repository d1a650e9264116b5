"""Fixtures of the tests with the real operator: a cluster, a new namespace, and the CLI for them.

`make operator-test` runs these tests; `make test` does not. If KUBECONFIG is set, they run on that cluster,
which needs the KubeRay operator: pods run OPERATOR_TEST_IMAGE, and OPERATOR_TEST_SET is a list of additional
settings, separated by spaces (`pull_secret=registry workers.0.cpus=2`).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.operator.cluster import ROOT, Cluster
from tests.operator.cluster import wait_until as wait
from tests.operator.harness.binaries import Binaries
from tests.operator.harness.control_plane import ControlPlane
from tests.operator.harness.isolation import BINARIES, STATE
from tests.operator.namespaces import fresh_namespace

_SMALL = {
    "head.cpus": 1,
    "head.memory_gib": 2,
    "workers.0.cpus": 1,
    "workers.0.memory_gib": 2,
    "workers.0.max_pods": 4,
}
"""Settings with which two pods and a head fit on two cores."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Yield the cluster of KUBECONFIG, or the suite's own; skip if there is neither."""
    if given := os.environ.get("KUBECONFIG"):
        program = shutil.which("kubectl")
        if program is None:
            pytest.skip("kubectl is not on the PATH")
        found = Cluster(Path(given), program)
        found.kubectl("get", "crd", "rayservices.ray.io")
        yield found
        return
    if BINARIES not in os.environ:
        pytest.skip("no cluster: run `make operator-test`, or set KUBECONFIG to one with the operator")
    own = ControlPlane(Binaries(Path(os.environ[BINARIES])), Path(os.environ[STATE]), ROOT)
    try:
        yield own.start()
    finally:
        own.end()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace; afterwards everything in it is deleted."""
    with fresh_namespace(cluster) as name:
        yield name


@pytest.fixture
def environment(cluster: Cluster, namespace: str) -> Callable[..., list[str]]:
    """Return a function for the CLI options of a small CPU service in the namespace.

    The function's arguments are additional settings, named as in `--set`, with `__` for a dot:
    `environment(serve__max_pods=4)`.
    """
    return lambda **settings: environment_options(cluster, namespace, **settings)


@pytest.fixture(scope="session")
def run_cluster(cluster: Cluster) -> Callable[..., Any]:
    """Return a function that runs the CLI to its end; see `Cluster.run`."""
    return cluster.run


@pytest.fixture
def start_cluster(cluster: Cluster) -> Iterator[Callable[..., Any]]:
    """Yield a function that starts the CLI; see `Cluster.start`.

    A process that outlives the test is killed.
    """
    started = []

    def start(*arguments: str, **options: Any) -> Any:
        started.append(cluster.start(*arguments, **options))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Return `tests.operator.cluster.wait_until`."""
    return wait


def environment_options(cluster: Cluster, namespace: str, **settings: object) -> list[str]:
    """Return the options `--env` and `--set`; see the fixture `environment`."""
    chosen: dict[str, object] = {"namespace": namespace, **_SMALL}
    if image := os.environ.get("OPERATOR_TEST_IMAGE"):
        chosen["image"] = image
    if not cluster.has_container_runtime():  # its pods see this machine's files and not the image's /app
        chosen["environment.RAY_SERVE_HAPROXY_BINARY_PATH"] = str(ROOT / "serve_app/haproxy/haproxy")
    chosen |= {key.replace("__", "."): value for key, value in settings.items()}
    pairs = [f"{key}={_toml(value)}" for key, value in chosen.items()]
    pairs += os.environ.get("OPERATOR_TEST_SET", "").split()
    return ["--env", "dev", *(part for pair in pairs for part in ("--set", pair))]


def _toml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
