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
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from cluster.rollout.errors import Busy, JournalDamaged, JournalUnreached
from cluster.rollout.states import Entry, Rollout, Verb, after
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
    """

    def __init__(self, place: Place, clock: Callable[[], float] = time.time) -> None:
        self._place, self._clock = place, clock
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
            Busy: another controller wrote the next entry.
        """
        rollout = after(self._folded, entry)
        document = {
            "rollout": rollout.number,
            "champion": rollout.champion.uri,
            "canary": rollout.canary.uri,
            "entry": dict(entry),
        }
        if not self._swap(self._next_key(), document, tag=None):
            raise self._busy()
        self._take(json.loads(json.dumps(entry)))  # as the next one reads it

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the one who writes while the block runs. Raises Busy if another process or machine is."""
        stored = self._read("lock")
        if self._holds(stored) or not self._lease(stored, self._clock() + LEASE_S):
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
                self._lease_again(0.0)

    def is_held(self) -> bool:
        """Whether a controller is at work."""
        return self._holds(self._read("lock"))

    def ask(self, verb: Verb) -> None:
        """Leave word for the controller at work."""
        self._set("asked", {"verb": verb})

    def asked(self) -> Verb | None:
        """What a person asks for, if anything."""
        stored = self._read("asked")
        try:
            return Verb(json.loads(stored.content)["verb"]) if stored else None
        except (LookupError, ValueError):
            return None

    def answered(self) -> None:
        """Forget what was asked for; after the entry that does it is written."""
        if self.asked() is not None:
            self._set("asked", {})

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
                self._lease_again(self._clock() + LEASE_S)

    def _holds(self, stored: Stored | None) -> bool:
        return stored is not None and float(json.loads(stored.content).get("until", 0.0)) > self._clock()

    def _lease(self, stored: Stored | None, until: float) -> bool:
        return self._swap("lock", {"until": until}, tag=stored.tag if stored else None)

    def _lease_again(self, until: float) -> None:
        """Change the lease, if it is still this one's."""
        stored = self._read("lock")
        if stored is not None and json.loads(stored.content).get("by") == self._writer:
            self._lease(stored, until)

    def _busy(self) -> Busy:
        return Busy(
            f"another controller is at work on {self._place.uri('')}, or died less than {LEASE_S:.0f} s ago; "
            "`rollout status --watch` shows it, and `rollout promote` and `rollout abort` reach it"
        )

    def _set(self, key: str, document: Mapping[str, Any]) -> None:
        """Write a document over whatever is there."""
        while True:
            stored = self._read(key)
            if self._swap(key, document, tag=stored.tag if stored else None):
                return

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
