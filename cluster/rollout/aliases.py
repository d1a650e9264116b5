"""The seam to the registry: its aliases move with a rollout. A rollout of plain addresses moves none."""

from __future__ import annotations

from typing import Protocol


class Aliases(Protocol):
    """Names of versions of a registered model. A move made twice is made once."""

    def move(self, model: str, alias: str, version: str | None) -> None:
        """Have an alias mean a version, or nothing for None. Raises RegistryFailed."""

    def restore(self, model: str, alias: str, version: str | None) -> None:
        """Have an alias mean what it did before its last move, as if that had not been made; see `move`."""


class NoAliases:
    """For models that no registry keeps."""

    def move(self, model: str, alias: str, version: str | None) -> None:
        """Do nothing."""

    def restore(self, model: str, alias: str, version: str | None) -> None:
        """Do nothing."""
