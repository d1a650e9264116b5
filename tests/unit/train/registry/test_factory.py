"""Tests that inconsistent addresses are refused before a connection is opened."""

import pytest

from train.errors import RegistryRequestError
from train.registry import open_registry


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("SENTIMENT_REGISTRY_ARTIFACTS", raising=False)


@pytest.mark.parametrize("uri", ["registry", "file:///registry", "databricks", "ftp://host"])
def test_what_mlflow_keeps_no_versions_in(uri: str) -> None:
    with pytest.raises(RegistryRequestError, match="the registry cannot be"):
        open_registry(uri)


def test_a_server_needs_to_be_told_where_files_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")

    with pytest.raises(RegistryRequestError, match="SENTIMENT_REGISTRY_ARTIFACTS, such as s3://"):
        open_registry()
    with pytest.raises(RegistryRequestError, match="files in a folder, 'here'"):
        open_registry(artifacts="here")
