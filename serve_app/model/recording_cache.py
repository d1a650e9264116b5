"""Cache of recordings on the local disk, so that a replica starts without importing transformers.

An entry holds for one model, one precision, the versions of the libraries and of this package, and the
instruction sets of the CPU. A damaged entry is removed and written again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shutil
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from serve_app.errors import InvalidBundleError, ServiceError
from serve_app.model import cache, checksums
from serve_app.model.precision import fastest_dtype
from serve_app.model.recorded import RecordedClassifier, check_recording

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier
    from serve_app.model.resolver import Bundle
    from serve_app.model.scorer import Scorer

MAX_ENTRIES = 4
"""Maximum number of entries; the oldest are removed. An entry is about as large as the model."""
_LOCK_TIMEOUT_S = 0.0
"""Another process that holds the lock writes the same entry, so there is nothing to wait for."""

_log = logging.getLogger("ray.serve")


def load_or_record(bundle: Bundle, *, device: str, dtype: str, threads: int, root: Path) -> Scorer:
    """Load a model from its recording, or otherwise with transformers, and then record it.

    Args:
        bundle: Verified bundle from the store.
        device: As for `Classifier`; models on CUDA are not recorded.
        dtype: As for `Classifier`.
        threads: Number of CPU threads of the forward pass.
        root: Folder of the cache.

    Raises:
        InvalidBundleError: As `Classifier`.
    """
    is_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if not is_cpu:
        return _load(bundle, device, dtype, threads)
    key = RecordingKey(bundle.manifest.digest, dtype, base=_small_files(bundle.base_folder))
    recordings = RecordingCache(root)
    if recorded := recordings.load(key, threads=threads):
        return recorded
    classifier = _load(bundle, device, dtype, threads)
    if classifier.graph and _is_unchanged(bundle):
        recordings.store(key, classifier)
    return classifier


def _load(bundle: Bundle, device: str, dtype: str, threads: int) -> Classifier:
    from serve_app.model.classifier import Classifier  # imports transformers, which takes seconds

    return Classifier(bundle, device=device, dtype=dtype, threads=threads)


def _small_files(folder: Path | None) -> dict[str, str]:
    """Return the SHA-256 of the base's settings and tokenizer files, which an adapter's manifest may lack."""
    if folder is None:
        return {}
    suffixes = (".json", ".txt", ".model")
    names = [name for name in checksums.visible_files(folder) if name.endswith(suffixes)]
    return checksums.sha256_files(folder, names)


def _is_unchanged(bundle: Bundle) -> bool:
    """Return whether the files are still those that were verified before they were loaded."""
    try:
        anywhere = Path(bundle.folder.absolute().anchor)
        checksums.check(bundle.folder, bundle.manifest.files, links_within=anywhere)
    except ServiceError as error:
        _log.warning(f"the model is not recorded: {error}")
        return False
    return True


@dataclass(frozen=True, slots=True)
class RecordingKey:
    """Everything that determines what a recording computes.

    Attributes:
        digest: SHA-256 of the bundle's manifest, which lists the SHA-256 of every file.
        dtype: Requested precision.
        base: SHA-256 of the small files of an adapter's base, by name.
        fastest: Data type that the precision "auto" tries on this CPU.
        versions: Versions of libraries by name.
        cpu: Instruction sets and architecture of the CPU.
        code: SHA-256 over the source files of this package.
    """

    digest: str
    dtype: str
    base: Mapping[str, str] = field(default_factory=dict)
    fastest: str = field(default_factory=lambda: str(fastest_dtype(torch.device("cpu"))))
    versions: Mapping[str, str] = field(
        default_factory=lambda: {name: version(name) for name in ("torch", "transformers", "tokenizers")}
    )
    cpu: Mapping[str, str] = field(default_factory=lambda: _cpu())
    code: str = field(default_factory=lambda: _code_digest())

    @property
    def name(self) -> str:
        """Name of the entry's folder."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


class RecordingCache:
    """Folder of recordings, which processes of the same user may share.

    Args:
        root: Folder; created when the first entry is written.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def load(self, key: RecordingKey, *, threads: int) -> RecordedClassifier | None:
        """Return the recorded model, or None if there is no entry or it is damaged."""
        folder = self._root / key.name
        try:
            if not folder.is_dir() or not _is_private(self._root):
                return None
        except OSError as error:
            _log.warning(
                f"recordings in {self._root} cannot be read: {error}; chown the folder, or remove it"
            )
            return None
        try:
            if not _is_private(folder):
                raise InvalidBundleError(f"{folder}: other users can write to it, or own it")
            return RecordedClassifier(folder, threads=threads)
        except (ServiceError, OSError) as error:
            _log.warning(f"recorded model cannot be used and will be recorded again: {error}")
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def store(self, key: RecordingKey, classifier: Classifier) -> None:
        """Write the recording of a model; without an effect if it has no graph, or if the disk fails."""
        if not classifier.graph:
            return
        try:
            if (self._root / key.name).is_dir():
                return  # another replica has written it meanwhile
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_private(self._root):
                _log.warning(
                    f"models are not recorded: other users can write to {self._root}; remove the folder, "
                    "whose entries cannot be trusted"
                )
                return
            self._prune(key.name)
            cache.keep(
                self._root,
                key.name,
                fill=lambda folder: _fill(folder, classifier),
                check=check_recording,
                lock_timeout_s=_LOCK_TIMEOUT_S,
            )
        except Exception as error:  # without an entry, the next start is slower; this one must not fail
            _log.warning(f"the model cannot be recorded in {self._root}: {error!r}")

    def _prune(self, kept: str) -> None:
        entries = [path for path in self._root.iterdir() if path.is_dir() and path.name != kept]
        entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for entry in entries[MAX_ENTRIES - 1 :]:
            shutil.rmtree(entry, ignore_errors=True)


def _fill(folder: Path, classifier: Classifier) -> None:
    folder.chmod(0o700)  # with a umask of 002 the group could write programs
    try:
        classifier.record_to(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # a part of it would keep a full disk full
        raise


def _is_private(folder: Path) -> bool:
    """Return whether only this user can write to the folder: a TorchScript file is a program."""
    status = folder.lstat()  # a link has mode 0777
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _cpu() -> dict[str, str]:
    capabilities = {name: str(value) for name, value in torch.cpu.get_capabilities().items()}
    return {**capabilities, "machine": platform.machine()}


def _code_digest() -> str:
    content = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content.update(path.read_bytes())
    return content.hexdigest()
