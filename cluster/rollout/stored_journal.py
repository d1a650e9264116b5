"""The journal where several machines reach it, such as S3: an object an entry, written if it is not there.

A build that carries a rollout has no disk that outlives it. Below the address lie

    entries/00000017.json   an entry, with its rollout's number and models, as who watches wants them
    lock                    who is at work, and until when if nothing more is heard of it
    asked                   what a person asks of the controller at work

Entries never change and their numbers have no gap, so the conditional write of the next one is also the
fence: of two controllers that both believe to hold the lock, one fails with its first entry, before it acts.
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

from cluster.rollout.errors import Busy, JournalDamaged, JournalUnreached, LeaseLost
from cluster.rollout.states import Command, Entry, Rollout, after, parse_command
from train.errors import RegistryError
from train.registry.place import Place, Stored

LEASE_S = 90.0
"""How long a lock holds that is not renewed: a controller that died keeps the next one out for so long."""
_RENEW_S = 20.0
_NOTHING = b"{}"


class StoredJournal:
    """A rollout's memory in a place; its methods are those of `cluster.rollout.journal.Journal`.

    Args:
        place: a folder, or a prefix of a bucket; this journal's own.
        clock: Unix time, seconds; of machines that agree within half a minute.
        monotonic: seconds since any moment; no change of the clock changes it.
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
        """Every entry, oldest first. Raises JournalDamaged if one is missing or is not what was written."""
        for key in self._keys()[len(self._known) :]:
            if key != self._next_key():
                raise JournalDamaged(
                    f"{self._place.uri(self._next_key())} is missing; restore it, or take another --journal: "
                    "the next rollout then starts from what the pods serve"
                )
            self._take(self._document(key)["entry"])
        return list(self._known)

    def rollout(self) -> Rollout:
        """What the entries add up to."""
        self.entries()
        return self._folded

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; everyone sees it when this returns. Only with the lock held.

        Raises:
            LeaseLost: another controller wrote the next entry.
        """
        rollout = after(self._folded, entry)
        document = {
            "rollout": rollout.number,
            "champion": rollout.champion.uri,
            "canary": rollout.canary.uri,
            "entry": dict(entry),
        }
        if not self._swap(self._next_key(), document, tag=None):
            raise LeaseLost(f"another controller wrote {self._place.uri(self._next_key())}, the next entry")
        self._take(json.loads(json.dumps(entry)))  # as the next one reads it

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one who writes while the block runs. Raises Busy if another process or machine is."""
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
            with suppress(JournalUnreached):  # then the lease runs out by itself
                self._lease_again(-LEASE_S)

    def is_held(self) -> bool:
        """Whether a controller is at work."""
        return self._holds(self._read("lock"))

    def check_held(self) -> None:
        """Raise LeaseLost unless the lock is still this journal's; renew it where that was some time ago.

        A renewal succeeds only if nobody else has had the lock since, so it also brings back a lease that ran
        out while the process paused.
        """
        since = self._monotonic() - self._leased_at
        for _ in range(2):  # the first may fail against this journal's own thread, which renews, too
            stored = self._read("lock")
            mine = stored is not None and json.loads(stored.content).get("by") == self._writer
            if mine and (since < _RENEW_S or self._lease(stored, LEASE_S)):
                return
        raise LeaseLost(
            f"another controller has the lock on {self._place.uri('')}; this one last renewed it "
            f"{since:.0f} s ago, for {LEASE_S:.0f} s"
        )

    def ask(self, command: Command) -> None:
        """Leave a command for the controller at work, in the place of an earlier one."""
        while True:
            stored = self._read("asked")
            if self._swap("asked", asdict(command), tag=stored.tag if stored else None):
                return

    def asked(self) -> Command | None:
        """The command that waits, if any."""
        stored = self._read("asked")
        return parse_command(stored.content.decode()) if stored else None

    def answered(self, command: Command) -> None:
        """Remove a command after the entry that carries it out is written, unless another has replaced it."""
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
            raise JournalDamaged(
                f"{self._place.uri(key)} is not an entry ({error!r}); restore it, or take another --journal: "
                "the next rollout then starts from what the pods serve"
            ) from error

    def _renew(self, over: threading.Event) -> None:
        """Keep the lock while its holder works. One that cannot be kept is noticed by the next entry."""
        while not over.wait(_RENEW_S):
            with suppress(JournalUnreached):
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
        """Change the lease, if it is still this one's."""
        stored = self._read("lock")
        if stored is not None and json.loads(stored.content).get("by") == self._writer:
            self._lease(stored, seconds)

    def _busy(self) -> Busy:
        return Busy(
            f"another controller is at work on {self._place.uri('')}, or died less than {LEASE_S:.0f} s ago; "
            "`rollout status --watch` shows it, and `rollout promote` and `rollout abort` reach it"
        )

    def _swap(self, key: str, document: Mapping[str, Any], *, tag: str | None) -> bool:
        # Who writes it, so that no two writers write the same bytes: `Place.swap` tells them apart by these.
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
            raise JournalUnreached(str(error)) from error
