"""Object store of the registry in a folder: atomic files by rename, compare-and-swap under a file lock."""

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from train.errors import RegistryUnavailableError
from train.storage.base import Stored

_LOCK_TIMEOUT_S = 30.0  # a swap holds the lock for milliseconds


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """Store below `root`, an absolute path. Safe for threads and for processes of one machine."""

    root: Path

    @property
    def remote(self) -> bool:
        """False: other machines do not read a folder."""
        return False

    def uri(self, key: str) -> str:
        """Return the URI, `file:///…`."""
        return (self.root / key).as_uri()

    def put(self, key: str, source: Path) -> None:
        """Copy a file to the store; it appears completely or not at all."""
        with _translated(self.root / key), self._draft(key) as draft:
            shutil.copyfile(source, draft)

    def read(self, key: str) -> Stored | None:
        """Return a small document, or None if it does not exist."""
        with _translated(self.root / key):
            try:
                content = (self.root / key).read_bytes()
            except FileNotFoundError:
                return None
            return Stored(content, hashlib.sha256(content).hexdigest())

    def swap(self, key: str, content: bytes, *, tag: str | None) -> bool:
        """Write a document if the stored one has this tag; otherwise return False."""
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
        """Return the sorted keys of the documents directly in a folder."""
        with _translated(self.root / folder):
            if not (self.root / folder).is_dir():
                return []
            found = [path for path in (self.root / folder).iterdir() if path.is_file()]
        return sorted(f"{folder}/{path.name}" for path in found if not path.name.startswith("."))

    @contextmanager
    def _draft(self, key: str) -> Iterator[Path]:
        """Yield a hidden file, which is renamed to `key` once it is on the disk."""
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
        raise RegistryUnavailableError(
            f"another process has held the lock {error.lock_file} for {_LOCK_TIMEOUT_S:.0f} s; retry, or "
            "stop it"
        ) from error
    except OSError as error:
        raise RegistryUnavailableError(
            f"{error.filename or path}: {error.strerror or error}; check the disk and the permissions, then "
            "retry"
        ) from error
