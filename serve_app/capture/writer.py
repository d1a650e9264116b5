"""The writer: a bounded buffer in front of a thread that turns records into files and puts them in the store.

    offer (event loop, never waits) ──> buffer, bounded in bytes ──> thread: every `flush_s`, or when there is
                                                                    enough for a file: encode, put, try again

Nothing here can slow or fail a request: where there is no room a record is dropped and counted. What was
taken from the buffer counts against its bound until it is written: memory is bounded while the store is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from serve_app.capture.stores import Store

_log = logging.getLogger("ray.serve")

FILE_BYTES = 16 << 20
"""Memory of the records of one file at most; the file is about a tenth of that."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

Outcome = Literal["written", "dropped", "failed"]
"""dropped: there was no room. failed: it could not be encoded, or not be written before the end."""


class Sized(Protocol):
    """A record as the writer sees it."""

    @property
    def rows(self) -> int:
        """Rows it becomes."""

    @property
    def size_bytes(self) -> int:
        """Memory it takes, about."""


class File(Protocol):
    """What a batch of records becomes."""

    @property
    def key(self) -> str:
        """Its key in the store."""

    @property
    def content(self) -> bytes:
        """Its bytes."""

    @property
    def rows(self) -> int:
        """Rows in it."""


Record = TypeVar("Record", bound=Sized)


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """How much may wait, and for how long.

    Attributes:
        buffer_bytes: memory of all that is not written yet, at most.
        flush_s: seconds after which whatever there is becomes a file.
        file_bytes: memory of the records of one file, at most.
    """

    buffer_bytes: int
    flush_s: float
    file_bytes: int = FILE_BYTES


class Writer(Generic[Record]):
    """Takes records from one thread, writes them in another.

    Args:
        name: of the thread, and in the logs.
        encode: records to files; called in the writer's thread.
        store: where the files go.
        limits: the bounds.
        count: told how many rows came to which outcome; called in either thread.
        clock: seconds, as time.monotonic.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Sequence[Record]], Sequence[File]],
        store: Store,
        limits: BufferLimits,
        count: Callable[[Outcome, int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._encode, self._store, self._limits = name, encode, store, limits
        self._count, self._clock = count, clock
        self._wake = threading.Condition()
        # All below: read and written with `_wake` held.
        self._waiting: deque[tuple[Record, int]] = deque()
        self._waiting_bytes = 0  # what the thread has not taken yet
        self._held_bytes = 0  # that, and what it has taken and not written
        self._due = clock() + limits.flush_s  # when the next file is written, however small
        self._close_by: float | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def offer(self, record: Record) -> bool:
        """Keep a record if there is room; False, and counted, if there is none."""
        size_bytes = record.size_bytes
        with self._wake:
            fits = self._close_by is None and self._held_bytes + size_bytes <= self._limits.buffer_bytes
            if fits:
                self._waiting.append((record, size_bytes))
                self._waiting_bytes += size_bytes
                self._held_bytes += size_bytes
                if self._enough():
                    self._wake.notify()
        if not fits:
            self._count("dropped", record.rows)
        return fits

    @property
    def held_bytes(self) -> int:
        """Memory of what is not written yet."""
        return self._held_bytes

    def close(self, *, patience_s: float) -> None:
        """Take no more, write what waits, and end; what is not written after `patience_s` has failed."""
        with self._wake:
            self._close_by = self._clock() + patience_s
            self._wake.notify()
        self._thread.join(patience_s + _LONGEST_PAUSE_S)
        if self._thread.is_alive():
            _log.error("the log did not end in time", extra={"log": self._name, "bytes": self._held_bytes})

    def _work(self) -> None:
        while batch := self._take():
            records = [record for record, _ in batch]
            try:
                files = self._encode(records)
            except Exception as error:  # whatever is wrong with a record, the next ones are to be kept
                # Its message is not logged: it could hold the text.
                _log.error("the log could not encode", extra={"log": self._name, "error": repr(type(error))})
                self._count("failed", sum(record.rows for record in records))
                files = []
            for file in files:
                self._count("written" if self._put(file) else "failed", file.rows)
            with self._wake:
                self._held_bytes -= sum(size_bytes for _, size_bytes in batch)

    def _take(self) -> list[tuple[Record, int]]:
        """Wait until it is time, then the oldest records, at most a file of them; [] when closed and done."""
        with self._wake:
            while True:
                self._wake.wait_for(
                    lambda: self._close_by is not None or self._enough(), max(0, self._due - self._clock())
                )
                self._due = self._clock() + self._limits.flush_s
                if self._waiting or self._close_by is not None:
                    break
            batch: list[tuple[Record, int]] = []
            left_bytes = self._limits.file_bytes
            while self._waiting and (not batch or self._waiting[0][1] <= left_bytes):
                batch.append(self._waiting.popleft())
                left_bytes -= batch[-1][1]
            self._waiting_bytes -= sum(size_bytes for _, size_bytes in batch)
            return batch

    def _enough(self) -> bool:
        return self._waiting_bytes >= self._limits.file_bytes

    def _put(self, file: File) -> bool:
        """Whether the file is written; it is tried until then, or until the time of closing is up."""
        pause_s, failures = _FIRST_PAUSE_S, 0
        while True:
            try:
                self._store.put(file.key, file.content)
            except Exception as error:  # the log is never the reason why the replica ends
                failures += 1
                if failures == 1:
                    _log.warning("the log is not written", extra={"log": self._name, "error": str(error)})
            else:
                if failures:
                    _log.info("the log is written again", extra={"log": self._name, "failures": failures})
                return True
            if not self._pause(pause_s):
                _log.error("the log lost rows at the end", extra={"log": self._name, "rows": file.rows})
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> bool:
        """Wait; False if the time of closing is up."""
        with self._wake:
            if self._close_by is None:
                self._wake.wait_for(lambda: self._close_by is not None, seconds)
                return True
            left_s = self._close_by - self._clock()
        if left_s <= 0:
            return False
        time.sleep(min(_FIRST_PAUSE_S, left_s))
        return True
