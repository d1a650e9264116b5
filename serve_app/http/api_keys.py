"""API keys from SENTIMENT_API_KEYS, and from a file that may change while the service runs.

The file is usually a mounted Kubernetes Secret, which the kubelet replaces by renaming a symbolic link. It
has one key per line, `KEY` or `NAME: KEY`; blank lines and lines that start with # are skipped.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from serve_app.errors import SettingsError
from serve_app.settings import Settings

_log = logging.getLogger("ray.serve")

_FILE_VARIABLE = "SENTIMENT_API_KEYS_FILE"
_MAX_FILE_BYTES = 1 << 20
_CHECK_EVERY_S = 1.0
"""Minimum interval of checks of the file for changes: a revoked key is refused after this time."""
_KEY = re.compile(r"[\x21-\x7e]{1,1024}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

_Stamp = tuple[int, int, int] | None


class KeyRing:
    """The valid API keys.

    The id of a key is not secret: its name in the file, otherwise the first 8 hexadecimal digits of its
    SHA-256. Several keys may share a name, such as the old and the new key of a client.

    A lookup does not compare keys: it looks up their HMAC under a secret of this process, so that its
    duration reveals nothing about the keys.

    Args:
        settings: Settings with the keys and the file.
        clock: Returns monotonic seconds.

    Raises:
        SettingsError: The file cannot be read or holds no key, or a line has neither of the two forms.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._secret = secrets.token_bytes(32)
        self._fixed = self._blinded(_ids_of_settings(settings))
        self._ids = self._fixed
        self._file = settings.api_keys_file
        self._clock = clock
        self._checked_at = clock()
        self._stamp: _Stamp = None
        if self._file is not None:
            self._stamp = _stamp(self._file)
            self._ids = self._fixed | self._blinded(read_keys(self._file))

    def __bool__(self) -> bool:
        """Return whether keys are required. A file that loses its keys does not open the service."""
        return bool(self._ids)

    def find(self, key: str) -> str | None:
        """Return the id of a key, or None if the key is not valid."""
        self._refresh()
        return self._ids.get(self._blind(key))

    def _refresh(self) -> None:
        """Reload the file if it has changed; keep the earlier keys if that fails."""
        now = self._clock()
        if self._file is None or now < self._checked_at + _CHECK_EVERY_S:
            return
        self._checked_at = now
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            ids = read_keys(self._file)
        except SettingsError as error:
            message = "API keys could not be reloaded; the earlier ones stay valid"
            _log.error(message, extra={"reason": str(error)})
            return
        self._ids = self._fixed | self._blinded(ids)
        _log.info("API keys were reloaded", extra={"file": str(self._file), "keys": len(ids)})

    def _blinded(self, ids: dict[str, str]) -> dict[bytes, str]:
        return {self._blind(key): key_id for key, key_id in ids.items()}

    def _blind(self, key: str) -> bytes:
        return hmac.digest(self._secret, key.encode(), "sha256")


def configured_keys(settings: Settings) -> dict[str, str]:
    """Return every valid key with its id, those of the settings first. Raises SettingsError as `KeyRing`."""
    file = settings.api_keys_file
    return _ids_of_settings(settings) | (read_keys(file) if file is not None else {})


def read_keys(file: Path) -> dict[str, str]:
    """Return the keys of a file, each with its id.

    Raises:
        SettingsError: The file cannot be read, is over 1 MiB, holds no key, or has a line of another form.
            The message names the line, never its content.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise _unusable(file, f"it is over {_MAX_FILE_BYTES:,} bytes; expected one key per line")
        lines = content.decode("utf-8-sig").splitlines()
    except OSError as error:
        raise _unusable(file, f"{error.strerror}; mount it, or unset the variable") from None
    except UnicodeDecodeError as error:
        raise _unusable(file, f"byte {error.start} is not UTF-8; write the file as text") from None
    ids: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key, key_id = _read_line(words, f"{file}, line {number}")
        if ids.setdefault(key, key_id) != key_id:
            raise _unusable(
                file, f"line {number} repeats the key of an earlier line with another name; remove one"
            )
    if not ids:
        raise _unusable(file, "it holds no key; write one per line, as KEY or NAME: KEY")
    return ids


def _read_line(words: list[str], where: str) -> tuple[str, str]:
    """Return (key, id) from a line's words."""
    *names, key = words
    expected = (
        "expected KEY or NAME: KEY, with letters, digits and ._- in the name and visible ASCII in the key"
    )
    if len(names) > 1:
        raise SettingsError(f"{where} ({_FILE_VARIABLE}): {len(words)} words; {expected}")
    name = names[0].removesuffix(":") if names else _id_of(key)
    if not _NAME.fullmatch(name) or not _KEY.fullmatch(key):
        raise SettingsError(f"{where} ({_FILE_VARIABLE}): {expected}")
    if not names and ":" in key:
        raise SettingsError(f"{where} ({_FILE_VARIABLE}): a colon without a space after it; {expected}")
    return key, name


def _ids_of_settings(settings: Settings) -> dict[str, str]:
    keys = [key.get_secret_value() for key in settings.api_keys]
    return {key: _id_of(key) for key in keys}


def _id_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _stamp(file: Path) -> _Stamp:
    """Return a value that changes with the file or a link to it; None if the file does not exist."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _unusable(file: Path, reason: str) -> SettingsError:
    return SettingsError(f"{_FILE_VARIABLE}: cannot read API keys from {file}: {reason}")
