"""Versions of the built-in model to roll out, and texts that tell them apart."""

from __future__ import annotations

import shutil
from pathlib import Path

from serve_app.model import store
from serve_app.model.bundle import rewrite_manifest
from train.models import CACHE

_THINGS = ("kettle", "lamp", "jacket", "soap", "film", "concert", "keyboard", "perfume", "razor", "coffee")
_PRAISE = ("I love this {}", "What a lovely {}", "This {} works so well, I am happy")
_BLAME = ("This {} broke after a week",)
TEXTS = tuple(text.format(thing) for thing in _THINGS for text in (*_PRAISE, *_BLAME))
"""Three in four are praise: a model that takes praise for blame changes the labels' shares."""


def version_of_builtin(
    folder: Path, version: str, *, swap_labels: bool = False, temperature: float | None = None
) -> str:
    """The built-in model as a bundle under another version.

    Args:
        folder: made, and the bundle's address.
        version: of the bundle.
        swap_labels: it then calls everything its opposite.
        temperature: divides the logits, so that other scores tell it from the built-in one.
    """
    builtin = store.fetch("builtin:", cache_dir=CACHE)
    shutil.copytree(builtin.folder, folder)
    manifest = builtin.manifest
    rewrite_manifest(
        folder,
        manifest,
        version=version,
        labels=manifest.labels[::-1] if swap_labels else manifest.labels,
        temperature=temperature or manifest.temperature,
    )
    return str(folder)
