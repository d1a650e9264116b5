"""SHA-256 checksums of the files of a folder: computed in parallel, and compared with recorded ones."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from serve_app.errors import ChecksumMismatchError, InvalidBundleError, UnsafeArtifactError

_THREADS = 8  # hashlib releases the interpreter lock; more threads than cores only wait for the disk


def visible_files(folder: Path) -> list[str]:
    """Return the sorted relative names of all files below `folder`, with forward slashes.

    Hidden files are omitted. A link to a file counts as a file; a link to a folder is not followed.
    """
    found = (
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, files in os.walk(folder)
        for name in files
    )
    return sorted(name for name in found if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Return whether a file or a parent folder is hidden or Python's cache, and thus not part of a model."""
    return any(part.startswith(".") or part == "__pycache__" for part in PurePosixPath(name).parts)


def is_safe_name(name: str) -> bool:
    """Return whether `name` is a plain relative path with forward slashes that cannot leave its folder."""
    path = PurePosixPath(name)
    return (
        bool(path.name)
        and path.as_posix() == name
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(name) & {"\\", ":", "\0"}
    )


def sha256_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of `folder/name` for each name, as 64 lowercase hex digits, in the order of `names`.

    Raises:
        InvalidBundleError: A file is missing or cannot be read.
    """

    def digest(name: str) -> str:
        try:
            with (folder / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidBundleError(
                f"{folder / name} cannot be read ({error.strerror}); the folder is incomplete: copy it again"
            ) from error

    names = list(names)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(names, pool.map(digest, names), strict=True))


def refuse_escapes(folder: Path, names: Iterable[str], *, links_within: Path | None = None) -> None:
    """Raise `UnsafeArtifactError` if a name or its link points out of `links_within` (or `folder`)."""
    root = (links_within or folder).resolve()
    for name in names:
        if not is_safe_name(name) or not (folder / name).resolve().is_relative_to(root):
            raise UnsafeArtifactError(
                f"{name!r} in {folder} points out of {root}; put a copy of the file in the folder"
            )


def check(folder: Path, expected: Mapping[str, str], *, links_within: Path | None = None) -> None:
    """Compare the files of `folder` with their recorded checksums.

    Args:
        folder: Folder of the files.
        expected: SHA-256 in hex by relative name. Other files are not checked.
        links_within: Folder that symbolic links may point into; by default `folder`.

    Raises:
        UnsafeArtifactError: A name or a link points out of the folder.
        InvalidBundleError: A file is missing or cannot be read.
        ChecksumMismatchError: A file differs from its checksum; the message names the file and both
            checksums.
    """
    refuse_escapes(folder, expected, links_within=links_within)
    for name, got in sha256_files(folder, expected).items():
        if got != expected[name]:
            raise ChecksumMismatchError(
                f"{name} in {folder}: expected SHA-256 {expected[name]}, got {got}; the file is damaged or "
                "was replaced: download it again, or create the manifest again if the change is intended"
            )
