"""Cache of folders that appear completely or not at all: filled in a staging folder, checked and renamed."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from serve_app.errors import BundleError, StoreUnavailableError

_LOCK_TIMEOUT_S = 900.0  # longer than the download of a large model by another process

_log = logging.getLogger(__name__)


def keep(
    root: Path,
    key: str,
    *,
    fill: Callable[[Path], None],
    check: Callable[[Path], None],
    lock_timeout_s: float = _LOCK_TIMEOUT_S,
) -> Path:
    """Return the folder `root/key`: the existing one if it passes `check`, otherwise a new one.

    Any number of processes may call this at the same time; one fills the folder, the others wait. If that
    process is stopped, its staging folder remains, and the next `fill` continues with its content.

    Args:
        root: Parent of the cached folders; created if missing.
        key: Identifies the content, so that a folder never changes under its name.
        fill: Writes the content into the given folder, which may already hold a part of it.
        check: Raises a `BundleError` if the given folder is not valid.
        lock_timeout_s: Maximum wait for another process, in seconds.

    Raises:
        BundleError: From `fill`, or from `check` on the new content, which is then discarded.
        StoreUnavailableError: The disk failed or is full, or another process held the lock for too long.
    """
    folder, staging = root / key, root / f"{key}.staging"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{key}.lock", timeout=lock_timeout_s):
            if folder.is_dir():
                try:
                    check(folder)
                    return folder
                except BundleError as error:
                    _log.warning(
                        "cached model is damaged, downloading it again", extra={"reason": str(error)}
                    )
                    shutil.rmtree(folder)
            staging.mkdir(exist_ok=True)
            fill(staging)
            try:
                check(staging)
            except BundleError:
                shutil.rmtree(staging)
                raise
            return staging.replace(folder)
    except Timeout as error:
        raise StoreUnavailableError(
            f"another process has held the lock {error.lock_file} for {lock_timeout_s:.0f} s; retry, or stop "
            "that process"
        ) from error
    except OSError as error:
        raise StoreUnavailableError(
            f"the cache folder {root} cannot be used: {error}; free space there, or choose another folder"
        ) from error
