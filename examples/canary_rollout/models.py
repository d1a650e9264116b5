"""Versions of the built-in model for a rollout, and texts that distinguish them."""

from __future__ import annotations

import shutil
from pathlib import Path

from serve_app.model import resolver
from serve_app.model.bundle import rewrite_manifest
from train.model_uri import CACHE

_THINGS = ("kettle", "lamp", "jacket", "soap", "film", "concert", "keyboard", "perfume", "razor", "coffee")
_PRAISE = ("I love this {}", "What a lovely {}", "This {} works so well, I am happy")
_BLAME = ("This {} broke after a week",)
TEXTS = tuple(text.format(thing) for thing in _THINGS for text in (*_PRAISE, *_BLAME))
"""Three in four texts are praise, so a model with swapped labels changes the labels' shares."""


def version_of_builtin(
    folder: Path, version: str, *, swap_labels: bool = False, temperature: float | None = None
) -> str:
    """Create a bundle of the built-in model under another version.

    Args:
        folder: new folder, which is the bundle's address.
        version: version of the bundle.
        swap_labels: whether its labels are swapped.
        temperature: divisor of the logits, so that its scores differ from those of the built-in model.
    """
    builtin = resolver.fetch("builtin:", cache_dir=CACHE)
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
