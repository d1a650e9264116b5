"""SHA-256 of the files of a folder: computed in parallel, and compared with what was recorded."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from serve_app.errors import BundleInvalid, DigestMismatch, UnsafeArtifact

_THREADS = 8  # hashlib lets go of the interpreter lock; more threads than cores only wait for the disk


def visible_files(folder: Path) -> list[str]:
    """Names of all files below `folder`, relative, with forward slashes, sorted.

    What is hidden is left out. A link to a file counts as a file; a link to a folder is not followed.
    """
    found = (
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, files in os.walk(folder)
        for name in files
    )
    return sorted(name for name in found if not is_hidden(name))


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder above it, is hidden or Python's cache: no part of a model."""
    return any(part.startswith(".") or part == "__pycache__" for part in PurePosixPath(name).parts)


def is_safe_name(name: str) -> bool:
    """Whether `name` is a plain relative path with forward slashes that cannot leave its folder."""
    path = PurePosixPath(name)
    return (
        bool(path.name)
        and path.as_posix() == name
        and not path.is_absolute()
        and ".." not in path.parts
        and not set(name) & {"\\", ":", "\0"}
    )


def sha256_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of `folder/name` for each name, as 64 lowercase hex digits, in the order of `names`.

    Raises:
        BundleInvalid: A file is missing or cannot be read.
    """

    def digest(name: str) -> str:
        try:
            with (folder / name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BundleInvalid(
                f"{folder / name} cannot be read ({error.strerror}); the folder is incomplete: copy it again"
            ) from error

    names = list(names)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(names, pool.map(digest, names), strict=True))


def refuse_escapes(folder: Path, names: Iterable[str], *, links_within: Path | None = None) -> None:
    """Raise `UnsafeArtifact` if a name, or a link under it, leads out of `links_within` (or `folder`)."""
    root = (links_within or folder).resolve()
    for name in names:
        if not is_safe_name(name) or not (folder / name).resolve().is_relative_to(root):
            raise UnsafeArtifact(
                f"{name!r} in {folder} leads out of {root}; put a copy of the file in the folder"
            )


def check(folder: Path, expected: Mapping[str, str], *, links_within: Path | None = None) -> None:
    """Hold the files of `folder` against their recorded digests.

    Args:
        folder: Where the files are.
        expected: SHA-256 in hex by relative name. Files not named here are not looked at.
        links_within: Where symbolic links may lead; the folder itself by default.

    Raises:
        UnsafeArtifact: A name or a link leads out of the folder.
        BundleInvalid: A file is missing or cannot be read.
        DigestMismatch: A file is not the recorded one; the message names it with both digests.
    """
    refuse_escapes(folder, expected, links_within=links_within)
    for name, got in sha256_files(folder, expected).items():
        if got != expected[name]:
            raise DigestMismatch(
                f"{name} in {folder}: expected SHA-256 {expected[name]}, got {got}; the file is damaged or "
                "was replaced: fetch it again, or write the manifest anew if the change was meant"
            )
