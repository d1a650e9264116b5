"""Opening of the registry: its URIs from arguments and environment, and their compatibility."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from train.errors import RegistryRequestError
from train.registry.mlflow_backend import Tracking
from train.registry.registry import Registry
from train.storage.base import ARTIFACTS_VARIABLE, open_place

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///registry/registry.db"

_SERVERS = ("http://", "https://")
_DATABASES = ("sqlite:///", "postgresql", "mysql", "mssql")


def open_registry(
    uri: str | None = None,
    artifacts: str | None = None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    say: Callable[[str], None] = lambda _: None,
) -> Registry:
    """Open the registry; create a new one in SQLite if it does not exist.

    Args:
        uri: MLflow's tracking URI: `sqlite:///file`, another database, or a server's `http://…`. By default
            MLFLOW_TRACKING_URI, else `registry/registry.db` in the working directory.
        artifacts: Store of bundles, runs and alias records: `s3://bucket/prefix` or a folder. By default
            SENTIMENT_REGISTRY_ARTIFACTS, else the folder `artifacts` next to the SQLite file.
        now: Clock of the aliases' histories.
        say: Called with progress messages of long operations.

    Raises:
        RegistryRequestError: The URIs cannot be combined.
        RegistryUnavailableError: MLflow or the artifacts cannot be reached.
    """
    uri = uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
    artifacts = artifacts or os.environ.get(ARTIFACTS_VARIABLE)
    if not uri.startswith((*_SERVERS, *_DATABASES)):
        raise RegistryRequestError(
            f"the registry cannot be {uri!r}; expected sqlite:///path/registry.db, a server's "
            f"http://host:port, or a database's URL (--registry or {URI_VARIABLE})"
        )
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///")).absolute()
        uri, artifacts = f"sqlite:///{database}", artifacts or str(database.parent / "artifacts")
    if artifacts is None:
        raise RegistryRequestError(
            f"a registry on a server or in a database needs an artifact store: set --artifacts or "
            f"{ARTIFACTS_VARIABLE}, such as s3://bucket/registry"
        )
    place = open_place(artifacts)
    if uri.startswith(_SERVERS) and not place.remote:
        raise RegistryRequestError(
            f"a tracking server does not accept versions with files in a folder, {artifacts!r}; set "
            f"--artifacts (or {ARTIFACTS_VARIABLE}) to an s3:// URI"
        )
    return Registry(Tracking(uri, place.uri("runs")), place, now=now, say=say)
