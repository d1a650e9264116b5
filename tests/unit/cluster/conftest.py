"""Fixtures of the cluster tests: KubeRay's CRDs, and a checker based on them, if the CRDs are available."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.kuberay.validation.check import Checker
from cluster.kuberay.validation.crd_schemas import KindSchema, read_crds, schemas_of
from tests.crds import crds_folder


@pytest.fixture(scope="session")
def crds() -> list[dict[str, Any]]:
    folder = crds_folder()
    if folder is None:
        pytest.skip("no KubeRay CRDs: set CRDS_DIR to a folder with ray.io_rayservices.yaml and the others")
    return read_crds(folder)


@pytest.fixture(scope="session")
def schemas(crds: list[dict[str, Any]]) -> dict[tuple[str, str], KindSchema]:
    return schemas_of(crds)


@pytest.fixture(scope="session")
def checker(schemas: dict[tuple[str, str], KindSchema]) -> Checker:
    return Checker(schemas)
