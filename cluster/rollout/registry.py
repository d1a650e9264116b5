"""The registry's side of a rollout: `registry:` addresses made concrete, and aliases that move with it.

The pods never ask the registry: what they are told is the address of a bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cluster.rollout.errors import RegistryFailed
from cluster.rollout.states import Side
from train.errors import TrainError, VersionUnknown
from train.registry import Registry, Version, open_registry
from train.registry.aliases import CHAMPION
from train.registry.versions import SCHEME


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of the registry that is to be tried.

    Attributes:
        canary: its bundle's address, and its version.
        model: the registered model whose aliases move.
        versions: of that model, all of them.
    """

    canary: Side
    model: str
    versions: Sequence[Version]

    def champion_version(self, served_uri: str) -> str | None:
        """What the registry calls the bundle that is served; if that is none of its own, its champion."""
        by_uri = [version.version for version in self.versions if version.uri == served_uri]
        by_alias = [version.version for version in self.versions if CHAMPION in version.aliases]
        return next(iter(by_uri + by_alias), None)


def find(address: str, open_it: Callable[[], Registry] = open_registry) -> Registered | None:
    """The version of `registry:NAME/VERSION` or `registry:NAME@ALIAS`; None for any other address.

    Raises:
        RegistryFailed: there is no such version, or the registry cannot be asked.
    """
    if not address.startswith(SCHEME):
        return None
    with _translated(f"look up {address}"):
        registry = open_it()
        found = registry.get(address)
        return Registered(Side(found.uri, found.version), found.name, registry.versions(found.name))


class RegistryAliases:
    """Moves the aliases of the registry; see `Aliases`. It is opened with the first move.

    Args:
        open_it: opens the registry.
    """

    def __init__(self, open_it: Callable[[], Registry] = open_registry) -> None:
        self._open = open_it
        self._registry: Registry | None = None

    def move(self, model: str, alias: str, version: str | None) -> None:
        """Have an alias mean a version, or nothing for None. Raises RegistryFailed.

        `previous` moves with `champion`, in one step.
        """
        self._set(model, alias, version, undo=False)

    def restore(self, model: str, alias: str, version: str | None) -> None:
        """Take an alias's last move back, if that came from this version; else as `move`."""
        self._set(model, alias, version, undo=True)

    def _set(self, model: str, alias: str, version: str | None, *, undo: bool) -> None:
        with _translated(f"move {model}@{alias} to {version or 'nothing'}"):
            self._registry = self._registry or self._open()
            if version is not None:
                self._registry.set_alias(model, alias, version, undo=undo)
                return
            with suppress(VersionUnknown):  # it meant nothing before
                self._registry.delete_alias(model, alias)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except TrainError as error:
        raise RegistryFailed(
            f"could not {what}: {error}. The pods go on with what they serve; put that right, then, if a "
            "rollout is under way, go on with `rollout resume`"
        ) from error
