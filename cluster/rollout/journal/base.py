"""Interface of the journal, which is stored in a local folder or in storage that several machines reach."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from cluster.rollout.state import Command, Entry, Rollout


class Journal(Protocol):
    """Methods that a controller needs; `cluster.rollout.journal.file.FileJournal` documents them."""

    def entries(self) -> list[Entry]:
        """Return every complete entry, oldest first."""

    def rollout(self) -> Rollout:
        """Return the rollout that results from all entries."""

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry. The caller must hold the lock."""

    def held(self) -> AbstractContextManager[None]:
        """Hold the writer lock while the block runs.

        Raises JournalLockedError if another controller holds it.
        """

    def is_held(self) -> bool:
        """Return whether a controller holds the lock."""

    def check_held(self) -> None:
        """Raise LeaseLostError if this process lost the lock; call it immediately before a change."""

    def ask(self, command: Command) -> None:
        """Store a command for the running controller; it replaces an earlier command."""

    def asked(self) -> Command | None:
        """Return the pending command, if any."""

    def answered(self, command: Command) -> None:
        """Remove a command that was read, unless another command has replaced it since."""


def open_journal(address: str) -> Journal:
    """Open the journal in a folder, or at `s3://bucket/prefix`.

    Raises:
        JournalUnavailableError: the address names no bucket.
    """
    if not address.startswith("s3://"):
        from cluster.rollout.journal.file import FileJournal

        return FileJournal(Path(address))
    from cluster.rollout.errors import JournalUnavailableError
    from cluster.rollout.journal.object_store import ObjectStoreJournal
    from train.errors import RegistryError
    from train.storage.base import open_place

    try:
        return ObjectStoreJournal(open_place(address))
    except RegistryError as error:
        raise JournalUnavailableError(str(error)) from error
