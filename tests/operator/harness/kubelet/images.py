"""Images without a container runtime: files that a target of the Dockerfile copies, and its variables."""

from __future__ import annotations

import re
import shlex
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

_TARGETS = ("cpu", "cuda", "train")


@dataclass(frozen=True)
class Image:
    """Image that a container starts from.

    Attributes:
        layer: a folder that covers this machine's root file system; None: no folder.
        folder: working folder of commands.
        variables: environment variables of every process.
    """

    layer: Path | None = None
    folder: str = "/"
    variables: dict[str, str] = field(default_factory=dict)


class Images:
    """Images of this project's Dockerfile; every other image is this machine's root file system.

    Args:
        checkout: folder with cluster/Dockerfile.
        folder: folder of the layers.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self._checkout = checkout
        self._folder = folder
        self._made: dict[str, Image] = {}
        self._lock = threading.Lock()

    def image(self, name: str) -> Image:
        """Return the image for the end of a tag: sentiment-service:0.1.0-cpu is the target cpu."""
        target = name.rpartition("-")[2]
        if target not in _TARGETS:
            return Image()
        with self._lock:
            if target not in self._made:
                self._made[target] = self._make(target)
            return self._made[target]

    def _make(self, target: str) -> Image:
        layer = self._folder / target
        folder, variables = "/", dict[str, str]()
        for word, rest in _instructions((self._checkout / "cluster/Dockerfile").read_text(), target):
            parts = shlex.split(rest)
            if word == "WORKDIR":
                folder = rest
            elif word == "ENV":
                variables |= dict(part.split("=", 1) for part in parts)
            elif word == "COPY" and not any(part.startswith("--from=") for part in parts):
                *sources, to = [part for part in parts if not part.startswith("--")]
                for source in sources:
                    _copy(self._checkout / source, layer / (Path(folder) / to).relative_to("/"))
        variables.pop("PATH", None)  # the image's /opt/venv corresponds to this machine's environment
        return Image(layer, folder, variables)


def _instructions(dockerfile: str, target: str) -> list[tuple[str, str]]:
    """Return the instructions of a target after those of the stages that it is built from."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    stages: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = stages[name] = list(stages.get(base, []))
        elif word == "COPY" and (from_stage := re.fullmatch(r"--from=(\S+) / /", rest.strip())):
            current += [one for one in stages[from_stage[1]] if one[0] == "COPY"]
        else:
            current.append((word, rest.strip()))
    return stages[target]


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copy(source, to)
