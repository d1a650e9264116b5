"""Journal in storage that several machines reach, such as S3: one object per entry, written conditionally.

A build that runs a rollout has no disk that outlives it. The keys below the address are:

    entries/00000017.json   entry, with its rollout's number and models for consumers that watch the journal
    lock                    writer that holds the lock, and the time at which its lease expires
    asked                   pending command to the running controller

Entries never change and their numbers have no gap. The conditional write of the next entry is therefore also
the fence: of two controllers that both believe to hold the lock, one fails with its first entry, before it
makes a change.
"""

from __future__ import annotations

import json
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from cluster.rollout.errors import (
    JournalCorruptedError,
    JournalLockedError,
    JournalUnavailableError,
    LeaseLostError,
)
from cluster.rollout.state import Command, Entry, Rollout, after, parse_command
from train.errors import RegistryError
from train.storage.base import Place, Stored

LEASE_S = 90.0
"""Lease of the lock in seconds: for so long a controller that died blocks the next one."""
_RENEW_S = 20.0
_NOTHING = b"{}"


class ObjectStoreJournal:
    """Stored state of a rollout in object storage, with the methods of `journal.file.Journal`.

    Args:
        place: folder, or prefix of a bucket, that only this journal uses.
        clock: Unix time in seconds; the machines must agree within 30 s.
        monotonic: monotonic time in seconds, unaffected by changes of the system clock.
    """

    def __init__(
        self,
        place: Place,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._clock, self._monotonic = place, clock, monotonic
        self._leased_at = -math.inf
        self._writer = uuid.uuid4().hex
        self._known: list[Entry] = []
        self._folded = Rollout()

    def entries(self) -> list[Entry]:
        """Return every entry, oldest first.

        Raises JournalCorruptedError if an entry is missing or damaged.
        """
        for key in self._keys()[len(self._known) :]:
            if key != self._next_key():
                raise JournalCorruptedError(
                    f"{self._place.uri(self._next_key())} is missing; restore it, or use another --journal: "
                    "the next rollout then starts from the models of the pods"
                )
            self._take(self._document(key)["entry"])
        return list(self._known)

    def rollout(self) -> Rollout:
        """Return the rollout that results from all entries."""
        self.entries()
        return self._folded

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; every reader sees it when this method returns. The caller must hold the lock.

        Raises:
            LeaseLostError: another controller wrote the next entry.
        """
        rollout = after(self._folded, entry)
        document = {
            "rollout": rollout.number,
            "champion": rollout.champion.uri,
            "canary": rollout.canary.uri,
            "entry": dict(entry),
        }
        if not self._swap(self._next_key(), document, tag=None):
            raise LeaseLostError(
                f"another controller wrote {self._place.uri(self._next_key())}, the next entry"
            )
        self._take(json.loads(json.dumps(entry)))  # in the form in which the next controller reads it

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the writer lock while the block runs.

        Raises JournalLockedError if another process or machine holds it.
        """
        stored = self._read("lock")
        if self._holds(stored) or not self._lease(stored, LEASE_S):
            raise self._busy()
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(over,), name="journal-lock", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            over.set()
            renewing.join()
            with suppress(JournalUnavailableError):  # the lease then expires by itself
                self._lease_again(-LEASE_S)

    def is_held(self) -> bool:
        """Return whether a controller holds the lock."""
        return self._holds(self._read("lock"))

    def check_held(self) -> None:
        """Raise LeaseLostError unless this journal still holds the lock; renew a lease that is due.

        A renewal succeeds only if no other controller has held the lock since, so it also restores a lease
        that expired while the process was paused.
        """
        since = self._monotonic() - self._leased_at
        for _ in range(2):  # the first may fail against the renewal thread of this journal
            stored = self._read("lock")
            if self._is_mine(stored) and (since < _RENEW_S or self._lease(stored, LEASE_S)):
                return
        raise LeaseLostError(
            f"another controller has the lock on {self._place.uri('')}; this one renewed it "
            f"{since:.0f} s ago, for {LEASE_S:.0f} s"
        )

    def ask(self, command: Command) -> None:
        """Store a command for the running controller; it replaces an earlier command."""
        while True:
            stored = self._read("asked")
            if self._swap("asked", asdict(command), tag=stored.tag if stored else None):
                return

    def asked(self) -> Command | None:
        """Return the pending command, if any."""
        stored = self._read("asked")
        return parse_command(stored.content.decode()) if stored else None

    def answered(self, command: Command) -> None:
        """Remove a command after its entry was written, unless another command has replaced it."""
        stored = self._read("asked")
        if stored is not None and parse_command(stored.content.decode()) == command:
            self._swap("asked", {}, tag=stored.tag)  # if it fails, a later command is there

    def _next_key(self) -> str:
        return f"entries/{len(self._known):08d}.json"

    def _take(self, entry: Entry) -> None:
        self._folded = after(self._folded, entry)
        self._known.append(entry)

    def _document(self, key: str) -> dict[str, Any]:
        stored = self._read(key)
        try:
            document: dict[str, Any] = json.loads(stored.content if stored else _NOTHING)
            if not isinstance(document["entry"], dict):
                raise ValueError("no object")
            return document
        except (LookupError, TypeError, ValueError) as error:
            raise JournalCorruptedError(
                f"{self._place.uri(key)} is not an entry ({error!r}); restore it, or use another --journal: "
                "the next rollout then starts from the models of the pods"
            ) from error

    def _renew(self, over: threading.Event) -> None:
        """Renew the lock while its holder works. The next entry detects a lock that could not be renewed."""
        while not over.wait(_RENEW_S):
            with suppress(JournalUnavailableError):
                self._lease_again(LEASE_S)

    def _holds(self, stored: Stored | None) -> bool:
        return stored is not None and float(json.loads(stored.content).get("until", 0.0)) > self._clock()

    def _lease(self, stored: Stored | None, seconds: float) -> bool:
        began, until = self._monotonic(), self._clock() + seconds
        leased = self._swap("lock", {"until": until}, tag=stored.tag if stored else None)
        if leased:
            self._leased_at = began
        return leased

    def _lease_again(self, seconds: float) -> None:
        """Change the lease if this journal still holds it."""
        stored = self._read("lock")
        if self._is_mine(stored):
            self._lease(stored, seconds)

    def _is_mine(self, stored: Stored | None) -> bool:
        return stored is not None and json.loads(stored.content).get("by") == self._writer

    def _busy(self) -> JournalLockedError:
        return JournalLockedError(
            f"another controller holds the journal {self._place.uri('')}, or ended less than {LEASE_S:.0f} s "
            "ago; see `rollout status --watch`, or send it `rollout promote` or `rollout abort`"
        )

    def _swap(self, key: str, document: Mapping[str, Any], *, tag: str | None) -> bool:
        # The writer's identifier makes the bytes unique: `Place.swap` distinguishes writers by their bytes.
        content = json.dumps({**document, "by": self._writer}, separators=(",", ":"), allow_nan=False)
        with self._reached():
            return self._place.swap(key, content.encode(), tag=tag)

    def _read(self, key: str) -> Stored | None:
        with self._reached():
            return self._place.read(key)

    def _keys(self) -> list[str]:
        with self._reached():
            return list(self._place.keys("entries"))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except RegistryError as error:
            raise JournalUnavailableError(str(error)) from error
