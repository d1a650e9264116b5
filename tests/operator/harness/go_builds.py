"""Builds of programs from released Go modules, without a copy of their repositories."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_BUILD_S = 1800


def download(module: str, version: str) -> Path:
    """Return the folder of a module in Go's module cache, verified with Go's checksum database."""
    answer = json.loads(go("mod", "download", "-json", f"{module}@{version}"))
    return Path(answer["Dir"])


def build(
    module: str,
    version: str,
    packages: Sequence[str],
    out: Path,
    *,
    nested: str | None = None,
    ldflags: str = "",
) -> None:
    """Build main packages of a module.

    The module's go.mod may refer to folders of its repository that are not part of the module; each is a
    released module of its own.

    Args:
        module: module path, such as go.etcd.io/etcd/server/v3.
        version: version of the module.
        packages: paths in the module, such as ./cmd/kubectl.
        out: folder of the programs; a program has the name of its package.
        nested: version of the modules in such folders; None: as go.mod requires them.
        ldflags: flags of the linker.
    """
    source = download(module, version)
    with tempfile.TemporaryDirectory() as folder:
        # This go.mod replaces the one in the module cache, which is read-only; go.sum is next to it.
        mod = Path(folder) / "go.mod"
        mod.write_text((source / "go.mod").read_text())
        (mod.parent / "go.sum").write_text((source / "go.sum").read_text())
        local = [
            one["Old"]["Path"]
            for one in _description(mod).get("Replace") or []
            if one["New"]["Path"].startswith(".")
        ]
        edits = [f"-replace={path}={path}@{nested}" if nested else f"-dropreplace={path}" for path in local]
        go("mod", "edit", *edits, str(mod))
        flags = ["-mod=mod", f"-modfile={mod}", "-trimpath", f"-ldflags=-s -w {ldflags}"]
        go("build", *flags, "-o", f"{out}/", *packages, folder=source)


def go(*arguments: str, folder: Path | None = None) -> str:
    """Return the output of the Go command.

    Raises:
        RuntimeError: it failed; the message has the end of its standard error.
    """
    done = subprocess.run(
        ["go", *arguments],
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
    )
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments)}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def _description(mod: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(go("mod", "edit", "-json", str(mod)))
    return described
