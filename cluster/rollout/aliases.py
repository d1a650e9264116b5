"""Interface to the registry aliases that move with a rollout; models given by plain addresses have none."""

from __future__ import annotations

from typing import Protocol


class Aliases(Protocol):
    """Aliases of a registered model. Every move is idempotent."""

    def move(self, model: str, alias: str, version: str | None) -> None:
        """Point an alias at a version, or delete the alias if the version is None.

        Raises RolloutRegistryError.
        """

    def restore(self, model: str, alias: str, version: str | None) -> None:
        """Undo the last move of an alias, as if that move had not happened; raises as `move`."""


class NoAliases:
    """Aliases of models that are in no registry."""

    def move(self, model: str, alias: str, version: str | None) -> None:
        """Do nothing."""

    def restore(self, model: str, alias: str, version: str | None) -> None:
        """Do nothing."""
