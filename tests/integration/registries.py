"""Shared helpers of the registry tests: runs to register, and storage that lets writers collide or fail."""

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from serve_app.model.bundle import read_manifest, rewrite_manifest
from train.errors import TrainError
from train.storage.base import Place, Stored

BUILTIN = Path(__file__).parents[2] / "serve_app" / "model" / "builtin"
PATIENCE_S = 60


def write_run(folder: Path, *, name: str, version: str = "1", seed: int = 3, card: str = "") -> Path:
    """Write a run's folder around the built-in model; the seed is in its settings and in its history.

    Another card makes it another bundle.
    """
    shutil.copytree(BUILTIN, folder / "bundle")
    (folder / "bundle" / "README.md").write_text(card)
    manifest = read_manifest(BUILTIN)
    rewrite_manifest(folder / "bundle", manifest, name=name, version=version)
    report = {
        "settings": {"seed": seed, "data": [{"name": "a", "passes": 2.0}]},
        "data_digest": manifest.data_digest,
        "parent": {"uri": "builtin:", "name": "builtin-sentiment", "version": "1", "digest": manifest.digest},
        "history": [{"step": 10, "loss": 0.7}, {"step": 20, "loss": seed / 10}],
        "training_wall_s": 12.5,
    }
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "learning_curves.png").write_bytes(b"\x89PNG")
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "report.html").write_text("<p>figures</p>")
    return folder


class Meeting:
    """Storage whose swaps wait until every writer is about to make one."""

    def __init__(self, place: Place, writers: int) -> None:
        self._place, self._barrier = place, Barrier(writers)

    @property
    def remote(self) -> bool:
        return self._place.remote

    def uri(self, key: str) -> str:
        return self._place.uri(key)

    def put(self, key: str, source: Path) -> None:
        self._place.put(key, source)

    def read(self, key: str) -> Stored | None:
        return self._place.read(key)

    def swap(self, key: str, content: bytes, *, tag: str | None) -> bool:
        self._barrier.wait(PATIENCE_S)
        return self._place.swap(key, content, tag=tag)

    def keys(self, folder: str) -> Sequence[str]:
        return self._place.keys(folder)


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """Run every call in its own thread; return the result or the project's exception of each."""

    def answer(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except TrainError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(answer, calls))
