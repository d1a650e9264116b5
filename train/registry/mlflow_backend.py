"""Adapter to MLflow: versions with their runs, tags and aliases. The only module that imports MLflow."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock, Timeout

from serve_app.model.bundle import BundleManifest
from train.errors import RegistryUnavailableError
from train.registry.references import ParentVersion, Version
from train.registry.run_metadata import RunMetadata

_PARAMETERS_PER_CALL = 100  # MLflow's limits, mlflow/utils/validation.py
_FIGURES_PER_CALL = 1000
_PARAMETER_CHARACTERS = 6000
_RUNS_PER_PAGE = 1000
_OPEN_TIMEOUT_S = 120.0  # creating a database takes seconds, and longer on a busy machine

# Environment variables of MLflow; those that the user has set are not changed.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # with the default of 7, a failure is reported after minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """Model version in MLflow."""

    name: str
    number: int
    uri: str
    run_id: str
    created_at: datetime
    tags: Mapping[str, str]


class Tracking:
    """Client of one MLflow database or server. Thread-safe."""

    def __init__(self, uri: str, runs_uri: str) -> None:
        """Connect, and create the database if it does not exist.

        Args:
            uri: Tracking URI of MLflow.
            runs_uri: Folder of the files of all models' runs.

        Raises:
            RegistryUnavailableError: MLflow cannot be reached or set up.
        """
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._uri, self._runs_uri = uri, runs_uri
        with (
            warnings.catch_warnings(action="ignore"),
            _translated(uri),
            _alone(uri),
        ):  # MLflow's dependencies emit warnings
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            self._client.search_registered_models(max_results=1)

    def names(self) -> Sequence[str]:
        """Return the names of the registered models."""
        return sorted(model.name for model in self._pages(self._client.search_registered_models))

    def entries(self, name: str) -> Sequence[Entry]:
        """Return the versions of a model in the order of registration."""
        found = self._pages(self._client.search_model_versions, filter_string=f"name='{name}'")
        return sorted(map(_entry, found), key=lambda entry: entry.number)

    def create(self, name: str, *, uri: str, run_id: str, tags: Mapping[str, str]) -> Entry:
        """Add a version, and the model if it is new."""
        with _translated(self._uri):
            with _already_there_is_fine():
                self._client.create_registered_model(name)
            return _entry(
                self._client.create_model_version(
                    name, source=uri, run_id=run_id, tags=dict(tags), await_creation_for=0
                )
            )

    def remove(self, entry: Entry) -> None:
        """Remove a version."""
        with _translated(self._uri):
            self._client.delete_model_version(entry.name, str(entry.number))

    def aliases(self, name: str) -> Mapping[str, int]:
        """Return the version number of each alias of a registered model."""
        with _translated(self._uri):
            found = self._client.get_registered_model(name).aliases
        return {alias: int(number) for alias, number in found.items()}

    def point(self, name: str, alias: str, number: int | None) -> None:
        """Set an alias to a version, or remove it."""
        with _translated(self._uri):
            if number is None:
                self._client.delete_registered_model_alias(name, alias)
            else:
                self._client.set_registered_model_alias(name, alias, str(number))

    def record_run(self, name: str, title: str, evidence: RunMetadata, tags: Mapping[str, str]) -> str:
        """Record a finished run with its metadata, and return its id.

        A run whose recording fails is marked as failed, or stays running if this process dies; no version
        refers to it.
        """
        with _translated(self._uri):
            run = self._client.create_run(self._experiment(name), run_name=title, tags=dict(tags))
            run_id: str = run.info.run_id
            try:
                self._log(run_id, evidence)
            except BaseException:
                self._client.set_terminated(run_id, "FAILED")
                raise
            self._client.set_terminated(run_id)
        return run_id

    def figures(self, name: str) -> Mapping[str, Mapping[str, float]]:
        """Return the last value of every metric, by the ids of the model's runs."""
        with _translated(self._uri):
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return {}
        runs = self._pages(
            self._client.search_runs,
            experiment_ids=[experiment.experiment_id],
            max_results=_RUNS_PER_PAGE,
        )
        return {run.info.run_id: dict(run.data.metrics) for run in runs}

    def parameters(self, run_id: str) -> Mapping[str, str]:
        """Return the parameters of a run."""
        with _translated(self._uri):
            return dict(self._client.get_run(run_id).data.params)

    def files(self, run_id: str) -> Sequence[str]:
        """Return the URIs of a run's top-level files and folders."""
        with _translated(self._uri):
            where = str(self._client.get_run(run_id).info.artifact_uri)
            return [f"{where}/{file.path}" for file in self._client.list_artifacts(run_id)]

    def _experiment(self, name: str) -> str:
        """Return the id of the model's experiment, which is created if necessary."""
        with _already_there_is_fine():
            self._client.create_experiment(name, artifact_location=f"{self._runs_uri}/{name}")
        experiment: Any = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id)

    def _log(self, run_id: str, evidence: RunMetadata) -> None:
        from mlflow.entities import Metric, Param

        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        parameters = [
            Param(name, value[:_PARAMETER_CHARACTERS]) for name, value in evidence.parameters.items()
        ]
        for some in _batches(parameters, _PARAMETERS_PER_CALL):
            self._client.log_batch(run_id, params=some)
        figures = [Metric(point.name, point.value, now_ms, point.step) for point in evidence.history]
        figures += [Metric(name, value, now_ms, 0) for name, value in evidence.figures.items()]
        for some in _batches(figures, _FIGURES_PER_CALL):
            self._client.log_batch(run_id, metrics=some)
        for name, path in evidence.files.items():
            folder = Path(name).parent.as_posix()
            self._client.log_artifact(run_id, str(path), None if folder == "." else folder)

    def _pages(self, search: Any, **arguments: Any) -> Iterator[Any]:
        token = None
        while True:
            with _translated(self._uri):
                page = search(page_token=token, **arguments)
            yield from page
            if not (token := page.token):
                return


def _entry(found: Any) -> Entry:
    return Entry(
        name=found.name,
        number=int(found.version),
        uri=found.source,
        run_id=found.run_id or "",
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        tags=dict(found.tags),
    )


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _alone(uri: str) -> Any:
    """Lock a SQLite file while it is opened: two processes that create its tables would conflict."""
    if not uri.startswith("sqlite:///"):
        return nullcontext()
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=_OPEN_TIMEOUT_S)


@contextmanager
def _already_there_is_fine() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Translate errors of MLflow and its dependencies into the registry's."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    shown = _without_password(uri)
    where = f"MLflow at {shown}"
    try:
        yield
    except Timeout as error:
        raise RegistryUnavailableError(
            f"{where}: another process has been opening it for {_OPEN_TIMEOUT_S:.0f} s; retry"
        ) from error
    except MlflowException as error:
        message = error.message.replace(uri, shown)
        raise RegistryUnavailableError(
            f"{where} answered {error.error_code}: {message}; check that it is running, and its log"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise RegistryUnavailableError(f"{where}: {error}; check the address and the disk") from error


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else uri


TAG = "bundle."  # prefix of this project's tags, because others may use the same MLflow


def as_version(entry: Entry, pointing: tuple[str, ...], figures: Mapping[str, float]) -> Version:
    """Return the version of an entry with this project's tags."""
    tags = {key.removeprefix(TAG): value for key, value in entry.tags.items() if key.startswith(TAG)}
    name, _, version = tags.get("parent", "").rpartition("/")
    return Version(
        name=entry.name,
        version=tags["version"],
        number=entry.number,
        uri=entry.uri,
        digest=tags["digest"],
        created_at=entry.created_at,
        run_id=entry.run_id,
        aliases=pointing,
        parent=ParentVersion(name, version, tags.get("parent_digest")) if name else None,
        source=tags.get("source"),
        data_digest=tags.get("data_digest"),
        code_commit=tags.get("code_commit"),
        metrics=figures,
    )


def as_tags(manifest: BundleManifest, evidence: RunMetadata, source: str | None) -> dict[str, str]:
    """Return the tags that `as_version` reads, and MLflow's tag of the commit."""
    parent = evidence.parent
    values = {
        "version": manifest.version,
        "digest": manifest.digest,
        "labels": json.dumps(manifest.labels),
        "data_digest": manifest.data_digest,
        "code_commit": manifest.code_commit,
        "parent": str(parent) if parent else None,
        "parent_digest": parent.digest if parent else None,
        "source": source,
    }
    tags = {f"{TAG}{key}": value for key, value in values.items() if value}
    return tags | ({"mlflow.source.git.commit": manifest.code_commit} if manifest.code_commit else {})
