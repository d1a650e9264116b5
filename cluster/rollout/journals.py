"""The seam to a rollout's memory: a folder of this machine, or a place that several machines reach."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from cluster.rollout.states import Entry, Rollout, Verb


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

    def ask(self, verb: Verb) -> None:
        """Leave word for the controller at work."""

    def asked(self) -> Verb | None:
        """What a person asks for, if anything."""

    def answered(self) -> None:
        """Forget what was asked for."""


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
