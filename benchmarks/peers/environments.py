"""Environments of the peers: a venv each, in which the packages of the project are visible, too."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.peers.catalog import PeerSpec

ROOT = Path(__file__).parents[2]
_EXPERT = "expert"


class PeerError(Exception):
    """Peer that cannot be installed or started; the message has the reason."""


def prepare(peer: PeerSpec, folder: Path) -> Path:
    """Return the Python interpreter of a peer, whose environment is created if it is absent or outdated.

    A .pth file adds the packages of this interpreter behind those of the venv, so that no environment
    downloads PyTorch again.

    Raises:
        PeerError: pip could not install the requirements.
    """
    if not peer.environment:
        return Path(sys.executable)
    venv = folder / peer.environment
    python, stamp = venv / "bin/python", venv / "requirements.txt"
    required = (ROOT / peer.requirements).read_text()
    if stamp.exists() and stamp.read_text() == required:
        return python
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)])
    packages = sysconfig.get_path("purelib", vars={"base": str(venv)})
    Path(packages, "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(ROOT / peer.requirements)])
    stamp.write_text(required)
    return python


def export(folder: Path, python: Path, *, onnx: bool) -> Path:
    """Return the folder of the model, which is written if it is absent.

    Args:
        folder: Folder of all environments.
        python: Interpreter with ONNX and ONNX Runtime if `onnx` is set.
        onnx: Whether the engines' files are necessary, too.

    Raises:
        PeerError: The export failed.
    """
    model = folder / "model"
    if not model.exists():
        _run([sys.executable, "-m", "benchmarks.peers.model", str(model)])
    if onnx and not (model / "model.onnx").exists():
        _run([str(python), "-m", "benchmarks.peers.servers.export_onnx", str(model)])
    return model


def needs_onnx(peer: PeerSpec) -> bool:
    """Return whether a peer loads the files of the engines."""
    return peer.environment == _EXPERT


def _run(command: list[str]) -> None:
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    if result.returncode:
        last = (result.stderr or result.stdout).strip().splitlines()[-1:]
        raise PeerError(f"{' '.join(command[1:4])} … failed: {''.join(last)[:200]}")
