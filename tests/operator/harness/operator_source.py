"""Source of the KubeRay operator: an archive of its release, identified by the digest of its files."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

VERSION = "1.7.0"
_BESIDE = Path(__file__).parents[4] / "shared/operator" / f"kuberay-operator-{VERSION}.tar.xz"
_FILES_SHA256 = "d95118a43732e5f40aa90ded8f11c24a0d8067ee9eb7f6a892f8aad517e9805c"
_USED = ("apis", "config", "controllers", "go.mod", "go.sum", "internal", "main.go", "pkg")


class SourceError(Exception):
    """Archive with other files than the release."""


class SourceMissingError(SourceError):
    """Missing archive."""


def unpack(folder: Path) -> Path:
    """Unpack the operator's source and verify it.

    The archive is that of KUBERAY_SOURCE, or the one next to this checkout: the release's own archive,
    https://github.com/ray-project/kuberay/archive/refs/tags/v1.7.0.tar.gz, or one of its folder ray-operator.

    Args:
        folder: an empty folder.

    Returns:
        The folder of the operator's Go module.

    Raises:
        SourceMissingError: there is no archive.
        SourceError: its files are not those of the release.
    """
    archive = Path(os.environ.get("KUBERAY_SOURCE") or _BESIDE)
    if not archive.is_file():
        raise SourceMissingError(
            f"no source of the KubeRay operator at {archive}; download the archive of release v{VERSION} "
            "and set KUBERAY_SOURCE to its path"
        )
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    found = next((path.parent for path in folder.rglob("ray-operator/go.mod")), None)
    if found is None:
        raise SourceError(f"{archive} has no folder ray-operator; expected the release v{VERSION} of KubeRay")
    if (digest := files_digest(found)) != _FILES_SHA256:
        raise SourceError(
            f"{archive}: the files of ray-operator have the digest {digest}, expected {_FILES_SHA256}"
        )
    return found


def files_digest(root: Path) -> str:
    """Return the SHA-256 over names and contents of the files that are built or applied."""
    digest = hashlib.sha256()
    for top in _USED:
        start = root / top
        for path in sorted([start] if start.is_file() else start.rglob("*")):
            if path.is_file() and not path.name.endswith("_test.go"):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()
