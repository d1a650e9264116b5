"""Journal in a folder: one JSON line per entry, flushed to disk before the next change, and its writer lock.

The folder holds `journal.jsonl`, `lock` (held by the running controller) and `asked` (pending command to that
controller: promote or abort). A process that dies while it writes leaves an incomplete last line. No
controller has acted on that line, so it is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from cluster.rollout.errors import JournalCorruptedError, JournalLockedError
from cluster.rollout.state import Command, Entry, Rollout, parse_command, replay

_PATIENCE_S = 2.0
"""Seconds to wait for the lock: `is_held` takes it for a moment, and must not block a controller."""


class FileJournal:
    """Stored state of a rollout in a folder.

    Args:
        folder: folder of the files; created with the first entry.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "journal.jsonl"
        self._asked = folder / "asked"

    def entries(self) -> list[Entry]:
        """Return every complete entry, oldest first.

        Raises JournalCorruptedError with the line number of invalid JSON.
        """
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        # The bytes after the last line end are an entry that was being written when its process died.
        return [self._entry(number, line) for number, line in enumerate(lines[:-1], start=1)]

    def rollout(self) -> Rollout:
        """Return the rollout that results from all entries."""
        return replay(self.entries())

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; it is on disk when this method returns. The caller must hold the lock."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            self._drop_torn_line(file.fileno())
            file.write(json.dumps(entry, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def held(self, patience_s: float = _PATIENCE_S) -> Iterator[None]:
        """Hold the writer lock while the block runs.

        Raises JournalLockedError if another process or thread holds it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / "lock")
        try:
            lock.acquire(timeout=patience_s)
        except Timeout as error:
            raise JournalLockedError(
                f"another controller holds the journal {self._folder}; see `rollout status --watch`, or send "
                "it `rollout promote` or `rollout abort`"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Return whether a controller holds the lock."""
        if not self._folder.exists():
            return False
        try:
            with self.held(patience_s=0):
                return False
        except JournalLockedError:
            return True

    def check_held(self) -> None:
        """Do nothing: the operating system keeps the lock of a live process, even while it is paused."""

    def ask(self, command: Command) -> None:
        """Store a command for the running controller; it replaces an earlier command."""
        draft = self._asked.with_name(f"asked.{os.getpid()}")
        draft.write_text(json.dumps(asdict(command)))
        with self._commands():
            draft.replace(self._asked)

    def asked(self) -> Command | None:
        """Return the pending command, if any."""
        try:
            return parse_command(self._asked.read_text())
        except FileNotFoundError:
            return None

    def answered(self, command: Command) -> None:
        """Remove a command after its entry was written, unless another command has replaced it."""
        with self._commands():
            if self.asked() == command:
                self._asked.unlink()

    def _commands(self) -> FileLock:
        """Return the lock that prevents a new command between the read of a command and its removal."""
        return FileLock(self._folder / "asked.lock")

    def _entry(self, number: int, line: bytes) -> Entry:
        try:
            entry: Any = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("no object")
            return entry
        except ValueError as error:
            raise JournalCorruptedError(
                f"line {number} of {self._path} is not an entry ({error}); restore the file, or rename it: "
                "the next rollout then starts from the models of the pods"
            ) from error

    def _drop_torn_line(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        content = os.pread(descriptor, size, 0)
        if whole := content.rfind(b"\n") + 1:
            os.ftruncate(descriptor, whole)
        elif size:
            os.ftruncate(descriptor, 0)
