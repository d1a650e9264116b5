"""Log writer: a bounded buffer, and a thread that encodes records as files and stores them.

    offer (event loop, never waits) ──> buffer, bounded in bytes ──> thread: every `flush_s`, or when the
    buffer
                                                                    has enough for a file: encode, put, retry

The writer cannot delay or fail a request: if the buffer is full, a record is dropped and counted. Records
count against the bound of the buffer until they are written, so that memory is bounded while the store is
unavailable.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from serve_app.prediction_log.stores import Store

_log = logging.getLogger("ray.serve")

FILE_BYTES = 16 << 20
"""Maximum memory of the records of one file; the file has about a tenth of that size."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

Outcome = Literal["written", "dropped", "failed"]
"""dropped: the buffer was full. failed: the record could not be encoded, or not be written before the end."""


class SizedRecord(Protocol):
    """Record with a size."""

    @property
    def rows(self) -> int:
        """Number of rows of the record."""

    @property
    def size_bytes(self) -> int:
        """Approximate size in memory."""


class EncodedBatch(Protocol):
    """Encoded batch of records."""

    @property
    def key(self) -> str:
        """Key in the store."""

    @property
    def content(self) -> bytes:
        """Content of the file."""

    @property
    def rows(self) -> int:
        """Number of rows."""


Record = TypeVar("Record", bound=SizedRecord)


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """Limits of the buffer in size and time.

    Attributes:
        buffer_bytes: Maximum memory of the unwritten records.
        flush_s: Seconds after which the buffered records are written as a file of any size.
        file_bytes: Maximum memory of the records of one file.
    """

    buffer_bytes: int
    flush_s: float
    file_bytes: int = FILE_BYTES


class Writer(Generic[Record]):
    """Accepts records from one thread, and writes them in another.

    Args:
        name: Name of the thread, also used in log messages.
        encode: Encodes records as files; called in the writer's thread.
        store: Store of the files.
        limits: Limits of the buffer.
        count: Called with an outcome and its number of rows, in either thread.
        clock: Returns seconds, as time.monotonic.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Sequence[Record]], Sequence[EncodedBatch]],
        store: Store,
        limits: BufferLimits,
        count: Callable[[Outcome, int], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._encode, self._store, self._limits = name, encode, store, limits
        self._count, self._clock = count, clock
        self._wake = threading.Condition()
        # The attributes below are read and written with `_wake` held.
        self._waiting: deque[tuple[Record, int]] = deque()
        self._waiting_bytes = 0  # records that the thread has not taken
        self._held_bytes = 0  # these, and records that the thread has taken and not written
        self._due = clock() + limits.flush_s  # time at which the next file is written, of any size
        self._close_by: float | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def offer(self, record: Record) -> bool:
        """Buffer a record and return True, or count it as dropped and return False if the buffer is full."""
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
        """Memory of the unwritten records."""
        return self._held_bytes

    def close(self, *, patience_s: float) -> None:
        """Accept no more records, write the buffered ones within `patience_s`, and stop the thread."""
        with self._wake:
            self._close_by = self._clock() + patience_s
            self._wake.notify()
        self._thread.join(patience_s + _LONGEST_PAUSE_S)
        if self._thread.is_alive():
            _log.error(
                "the log writer did not stop in time", extra={"log": self._name, "bytes": self._held_bytes}
            )

    def _work(self) -> None:
        while batch := self._take():
            records = [record for record, _ in batch]
            try:
                files = self._encode(records)
            except Exception as error:  # an invalid record must not stop the writer
                # The message is not logged: it could hold the text.
                _log.error(
                    "log records could not be encoded", extra={"log": self._name, "error": repr(type(error))}
                )
                self._count("failed", sum(record.rows for record in records))
                files = []
            for file in files:
                self._count("written" if self._put(file) else "failed", file.rows)
            with self._wake:
                self._held_bytes -= sum(size_bytes for _, size_bytes in batch)

    def _take(self) -> list[tuple[Record, int]]:
        """Wait until a file is due; return its records, oldest first, or [] when closed and empty."""
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

    def _put(self, file: EncodedBatch) -> bool:
        """Write a file, with retries until the closing time limit; return whether it is written."""
        pause_s, failures = _FIRST_PAUSE_S, 0
        while True:
            try:
                self._store.put(file.key, file.content)
            except Exception as error:  # an error of the log must not end the replica
                failures += 1
                if failures == 1:
                    _log.warning(
                        "the log cannot be written, retrying", extra={"log": self._name, "error": str(error)}
                    )
            else:
                if failures:
                    _log.info("the log can be written again", extra={"log": self._name, "failures": failures})
                return True
            if not self._pause(pause_s):
                _log.error("log rows were lost at shutdown", extra={"log": self._name, "rows": file.rows})
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> bool:
        """Wait before a retry; return False if the closing time limit has passed."""
        with self._wake:
            if self._close_by is None:
                self._wake.wait_for(lambda: self._close_by is not None, seconds)
                return True
            left_s = self._close_by - self._clock()
        if left_s <= 0:
            return False
        time.sleep(min(_FIRST_PAUSE_S, left_s))
        return True
