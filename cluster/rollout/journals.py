"""The seam to a rollout's memory: a folder of this machine, or a place that several machines reach."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from cluster.rollout.states import Command, Entry, Rollout


class AnyJournal(Protocol):
    """What a controller needs; `cluster.rollout.journal.Journal` says what each method does."""

    def entries(self) -> list[Entry]:
        """Every whole entry, oldest first."""

    def rollout(self) -> Rollout:
        """What the entries add up to."""

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; only with the lock held."""

    def held(self) -> AbstractContextManager[None]:
        """Be the one who writes while the block runs. Raises Busy if somebody else is."""

    def is_held(self) -> bool:
        """Whether a controller is at work."""

    def check_held(self) -> None:
        """Raise LeaseLost if this process no longer holds the lock; for immediately before an effect."""

    def ask(self, command: Command) -> None:
        """Leave a command for the controller at work, in the place of an earlier one."""

    def asked(self) -> Command | None:
        """The command that waits, if any."""

    def answered(self, command: Command) -> None:
        """Remove a command that was read, unless another one has replaced it since."""


def open_journal(address: str) -> AnyJournal:
    """The journal in a folder, or at `s3://bucket/prefix`.

    Raises:
        JournalUnreached: the address names no bucket.
    """
    if not address.startswith("s3://"):
        from cluster.rollout.journal import Journal

        return Journal(Path(address))
    from cluster.rollout.errors import JournalUnreached
    from cluster.rollout.stored_journal import StoredJournal
    from train.errors import RegistryError
    from train.registry.place import open_place

    try:
        return StoredJournal(open_place(address))
    except RegistryError as error:
        raise JournalUnreached(str(error)) from error
