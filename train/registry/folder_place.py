"""A folder as the registry's place: whole files by rename, compare-and-swap under a file lock."""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from train.errors import RegistryUnavailable
from train.registry.place import Stored

_LOCK_TIMEOUT_S = 30.0  # a swap holds the lock for milliseconds


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """Below `root`, an absolute path. Safe for threads and for processes of one machine."""

    root: Path

    @property
    def remote(self) -> bool:
        """No other machine reads a folder."""
        return False

    def uri(self, key: str) -> str:
        """`file:///…`."""
        return (self.root / key).as_uri()

    def put(self, key: str, source: Path) -> None:
        """Copy a file here; it appears whole or not at all."""
        with _translated(self.root / key), self._draft(key) as draft:
            shutil.copyfile(source, draft)

    def read(self, key: str) -> Stored | None:
        """A small document; None if there is none."""
        with _translated(self.root / key):
            try:
                content = (self.root / key).read_bytes()
            except FileNotFoundError:
                return None
            return Stored(content, hashlib.sha256(content).hexdigest())

    def swap(self, key: str, content: bytes, *, tag: str | None) -> bool:
        """Write a document if it is still the one with this tag; False if it is not."""
        path = self.root / key
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_TIMEOUT_S):
                stored = self.read(key)
                if (stored.tag if stored else None) != tag:
                    return False
                with self._draft(key) as draft:
                    draft.write_bytes(content)
        return True

    def keys(self, folder: str) -> Sequence[str]:
        """Keys of the documents directly in a folder, sorted."""
        with _translated(self.root / folder):
            if not (self.root / folder).is_dir():
                return []
            found = [path for path in (self.root / folder).iterdir() if path.is_file()]
        return sorted(f"{folder}/{path.name}" for path in found if not path.name.startswith("."))

    @contextmanager
    def _draft(self, key: str) -> Iterator[Path]:
        """A hidden file beside `key` that takes its name once it is on the disk."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            yield draft
            with draft.open("rb") as written:
                os.fsync(written.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout as error:
        raise RegistryUnavailable(
            f"another process has held {error.lock_file} for {_LOCK_TIMEOUT_S:.0f} s; try again, or end it"
        ) from error
    except OSError as error:
        raise RegistryUnavailable(
            f"{error.filename or path}: {error.strerror or error}; check the disk and the permissions, then "
            "try again"
        ) from error
