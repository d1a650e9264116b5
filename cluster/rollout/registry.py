"""Registry side of a rollout: resolution of `registry:` addresses, and aliases that move with the rollout.

The pods never read the registry: their configuration contains the address of a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cluster.rollout.errors import RolloutRegistryError
from cluster.rollout.state import ModelVersion
from train.errors import TrainError, UnknownVersionError
from train.registry import Registry, Version, open_registry
from train.registry.aliases import CHAMPION
from train.registry.references import SCHEME


@dataclass(frozen=True, slots=True)
class Registered:
    """Registry version that is the canary.

    Attributes:
        canary: address of its bundle, and its version.
        model: registered model whose aliases move.
        versions: all versions of that model.
    """

    canary: ModelVersion
    model: str
    versions: Sequence[Version]

    def champion_version(self, served_uri: str) -> str | None:
        """Return the version of the served bundle; if the registry lacks the bundle, that of its champion."""
        by_uri = [version.version for version in self.versions if version.uri == served_uri]
        by_alias = [version.version for version in self.versions if CHAMPION in version.aliases]
        return next(iter(by_uri + by_alias), None)


def find(address: str, open_it: Callable[[], Registry] = open_registry) -> Registered | None:
    """Return the version of `registry:NAME/VERSION` or `registry:NAME@ALIAS`; None for any other address.

    Raises:
        RolloutRegistryError: the version does not exist, or the registry cannot be read.
    """
    if not address.startswith(SCHEME):
        return None
    with _translated(f"read {address}"):
        registry = open_it()
        entry = registry.get(address)
        return Registered(ModelVersion(entry.uri, entry.version), entry.name, registry.versions(entry.name))


class RegistryAliases:
    """Aliases in the model registry, which is opened for the first move; see `Aliases`.

    Args:
        open_it: opens the registry.
    """

    def __init__(self, open_it: Callable[[], Registry] = open_registry) -> None:
        self._open = open_it
        self._registry: Registry | None = None

    def move(self, model: str, alias: str, version: str | None) -> None:
        """Point an alias at a version, or delete the alias if the version is None.

        `previous` moves together with `champion` in one step. Raises RolloutRegistryError.
        """
        self._set(model, alias, version, undo=False)

    def restore(self, model: str, alias: str, version: str | None) -> None:
        """Undo the last move of an alias if it came from this version; otherwise move it as `move` does."""
        self._set(model, alias, version, undo=True)

    def _set(self, model: str, alias: str, version: str | None, *, undo: bool) -> None:
        with _translated(f"move {model}@{alias} to {version or 'nothing'}"):
            self._registry = self._registry or self._open()
            if version is not None:
                self._registry.set_alias(model, alias, version, undo=undo)
                return
            with suppress(UnknownVersionError):  # the alias did not exist before
                self._registry.delete_alias(model, alias)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except TrainError as error:
        raise RolloutRegistryError(
            f"cannot {what}: {error}. The pods keep their models; correct this, then continue a running "
            "rollout with `rollout resume`"
        ) from error
