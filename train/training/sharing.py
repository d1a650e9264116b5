"""Prepared data for workers on other machines: stored with the checkpoints, and fetched once per machine."""

import hashlib
import tempfile
from pathlib import Path

from filelock import FileLock

from train.datasets.files import copy_to, is_remote, open_filesystem
from train.training.data import Prepared, open_prepared


def share(prepared: Path, storage: str) -> str:
    """Copy prepared data to the store of the run's checkpoints, if it is a store; return the new location."""
    if not is_remote(storage):
        return str(prepared.resolve())
    digest = open_prepared(prepared).digest
    address = f"{storage.rstrip('/')}/prepared-{digest[:16]}"
    copy_to(prepared, address)
    return address


def local_copy(address: str) -> Prepared:
    """Return prepared data of a location from `share`, on this machine's disk."""
    from pyarrow.fs import LocalFileSystem, copy_files

    if not is_remote(address):
        return open_prepared(Path(address))
    folder = Path(tempfile.gettempdir()) / f"fit-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            system, path = open_filesystem(address)
            draft = Path(f"{folder}.part")
            draft.mkdir(exist_ok=True)
            copy_files(path, str(draft), source_filesystem=system, destination_filesystem=LocalFileSystem())
            draft.replace(folder)
    return open_prepared(folder)
