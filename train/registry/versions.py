"""A version, and how it is referred to: `NAME/VERSION` or `NAME@ALIAS`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from train.errors import RegistryRefused

SCHEME = "registry:"
_SLUG = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"  # a bundle's name and version, see serve_app/model/bundle.py
_ALIAS = r"[a-z][a-z0-9_-]{0,63}"
_REFERENCE = re.compile(rf"(?P<name>{_SLUG})(?:/(?P<version>{_SLUG})|@(?P<alias>{_ALIAS}))")
_GRAMMAR = "NAME/VERSION or NAME@ALIAS, such as senti/7 or senti@champion"


@dataclass(frozen=True, slots=True)
class Parent:
    """The version that a training run went on from."""

    name: str
    version: str
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model."""

    name: str
    version: str
    """The bundle's own version, which with the name is its identity."""
    number: int
    """MLflow's, counted from 1 in the order of registration."""
    uri: str
    """Address of the bundle, which `serve_app.model.store.fetch` and a replica's `user_config` take."""
    digest: str
    """SHA-256 in hex of the bundle's manifest, and through it of every file."""
    created_at: datetime
    run_id: str
    """MLflow's run: parameters, figures, report and plots."""
    aliases: tuple[str, ...] = ()
    parent: Parent | None = None
    source: str | None = None
    """Where an imported model came from."""
    data_digest: str | None = None
    code_commit: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """By dotted name, such as `held_out.sst2.balanced_accuracy`."""

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, slots=True)
class Reference:
    """One of `version` and `alias` is set."""

    name: str
    version: str | None
    alias: str | None


def parse_reference(text: str) -> Reference:
    """Read `NAME/VERSION` or `NAME@ALIAS`, with or without `registry:` in front.

    Raises:
        RegistryRefused: It is neither.
    """
    found = _REFERENCE.fullmatch(text.removeprefix(SCHEME))
    if found is None:
        raise RegistryRefused(f"{text!r} is not a version of the registry; write {_GRAMMAR}")
    return Reference(found["name"], found["version"], found["alias"])
