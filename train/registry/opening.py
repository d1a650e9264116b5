"""Where the registry is: its addresses from arguments and environment, and which go together."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from train.errors import RegistryRefused
from train.registry.place import ARTIFACTS_VARIABLE, open_place
from train.registry.registry import Registry
from train.registry.tracking import Tracking

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
    """Open the registry; a new SQLite one is made where there is none.

    Args:
        uri: MLflow's tracking URI: `sqlite:///file`, another database, or a server's `http://…`. By default
            MLFLOW_TRACKING_URI, else `registry/registry.db` in the working directory.
        artifacts: Where bundles, runs and alias records lie: `s3://bucket/prefix` or a folder. By default
            SENTIMENT_REGISTRY_ARTIFACTS, else the folder `artifacts` beside a SQLite file.
        now: The clock of aliases' histories.
        say: Is told what long work is at.

    Raises:
        RegistryRefused: The addresses do not go together.
        RegistryUnavailable: MLflow or the artifacts cannot be reached.
    """
    uri = uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
    artifacts = artifacts or os.environ.get(ARTIFACTS_VARIABLE)
    if not uri.startswith((*_SERVERS, *_DATABASES)):
        raise RegistryRefused(
            f"the registry cannot be {uri!r}; write sqlite:///path/registry.db, a server's http://host:port, "
            f"or a database's address (--registry or {URI_VARIABLE})"
        )
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///")).absolute()
        uri, artifacts = f"sqlite:///{database}", artifacts or str(database.parent / "artifacts")
    if artifacts is None:
        raise RegistryRefused(
            f"the registry at a server or database needs to be told where files go: --artifacts or "
            f"{ARTIFACTS_VARIABLE}, such as s3://bucket/registry"
        )
    place = open_place(artifacts)
    if uri.startswith(_SERVERS) and not place.remote:
        raise RegistryRefused(
            f"a tracking server takes no versions whose files lie in a folder, {artifacts!r}; give "
            f"--artifacts (or {ARTIFACTS_VARIABLE}) an s3:// address"
        )
    return Registry(Tracking(uri, place.uri("runs")), place, now=now, say=say)
