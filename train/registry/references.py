"""Versions, and references to them: `NAME/VERSION` or `NAME@ALIAS`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from train.errors import RegistryRequestError

SCHEME = "registry:"
_SLUG = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"  # a bundle's name and version, see serve_app/model/bundle.py
_ALIAS = r"[a-z][a-z0-9_-]{0,63}"
_REFERENCE = re.compile(rf"(?P<name>{_SLUG})(?:/(?P<version>{_SLUG})|@(?P<alias>{_ALIAS}))")
_GRAMMAR = "NAME/VERSION or NAME@ALIAS, such as senti/7 or senti@champion"


@dataclass(frozen=True, slots=True)
class ParentVersion:
    """Version from which a training run continued."""

    name: str
    version: str
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Version:
    """Immutable version of a model."""

    name: str
    version: str
    """Version of the bundle, which together with the name identifies it."""
    number: int
    """MLflow's number, from 1 in the order of registration."""
    uri: str
    """URI of the bundle, for `serve_app.model.resolver.fetch` and for a replica's `user_config`."""
    digest: str
    """SHA-256 in hex of the bundle's manifest, which lists that of every file."""
    created_at: datetime
    run_id: str
    """Id of MLflow's run with parameters, metrics, report and plots."""
    aliases: tuple[str, ...] = ()
    parent: ParentVersion | None = None
    source: str | None = None
    """Source of an imported model."""
    data_digest: str | None = None
    code_commit: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics by dotted name, such as `held_out.sst2.balanced_accuracy`."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class VersionReference:
    """Reference to a version; either `version` or `alias` is set."""

    name: str
    version: str | None
    alias: str | None


def parse_reference(text: str) -> VersionReference:
    """Parse `NAME/VERSION` or `NAME@ALIAS`, with or without the prefix `registry:`.

    Raises:
        RegistryRequestError: The text is neither.
    """
    found = _REFERENCE.fullmatch(text.removeprefix(SCHEME))
    if found is None:
        raise RegistryRequestError(f"{text!r} is not a version of the registry; expected {_GRAMMAR}")
    return VersionReference(found["name"], found["version"], found["alias"])
