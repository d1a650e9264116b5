"""A folder that appears whole or not at all: filled aside, checked, then renamed, under a file lock."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from serve_app.errors import BundleError, StoreUnavailable

_LOCK_TIMEOUT_S = 900.0  # longer than another process needs to download a large model

_log = logging.getLogger(__name__)


def keep(
    root: Path,
    key: str,
    *,
    fill: Callable[[Path], None],
    check: Callable[[Path], None],
    lock_timeout_s: float = _LOCK_TIMEOUT_S,
) -> Path:
    """The folder `root/key`: the one there if it passes `check`, else a newly filled one.

    Any number of processes may ask at once; one fills, the others wait for it. If the process that fills is
    stopped, its staging folder stays and the next `fill` starts with what is in it.

    Args:
        root: Parent of the cached folders; made if missing.
        key: Says what the content is, so that a folder never changes under its name.
        fill: Brings the content into the folder it is given, which may hold part of it already.
        check: Raises a `BundleError` if the folder it is given is not as it should be.
        lock_timeout_s: How long to wait for another process.

    Raises:
        BundleError: From `fill`, or from `check` on what was just filled, which is then discarded.
        StoreUnavailable: The disk failed or is full, or another process held the lock for too long.
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
                    _log.warning("cached model is damaged and is fetched again", extra={"reason": str(error)})
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
        raise StoreUnavailable(
            f"another process has held {error.lock_file} for {lock_timeout_s:.0f} s; try again, or end "
            "that process"
        ) from error
    except OSError as error:
        raise StoreUnavailable(
            f"the cache folder {root} failed: {error}; free space there, or choose another cache folder"
        ) from error
