"""Tests of model addresses: addresses pass through, registry versions become their bundle's address."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from train.model_uri import model_uri


@pytest.mark.parametrize("address", ["builtin:", "runs/a/bundle", "s3://bucket/a", "hf:org/model@main"])
def test_an_address_of_the_store_passes_through(address: str) -> None:
    assert model_uri(address) == address


@pytest.mark.parametrize("reference", ["sentiment/3", "sentiment@champion"])
def test_a_version_of_the_registry_is_looked_up(reference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("train.registry")
    registry = SimpleNamespace(get=lambda asked: SimpleNamespace(uri=f"s3://bundles/{asked}"))
    module.open_registry = lambda: registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "train.registry", module)

    assert model_uri(f"registry:{reference}") == f"s3://bundles/{reference}"
