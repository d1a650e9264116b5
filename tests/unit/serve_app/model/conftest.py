"""Fixtures that write model folders without real weights; these tests do not open weight files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.model.bundle import BaseRef, BundleManifest, write_manifest

WriteFiles = Callable[..., Path]
WriteBundle = Callable[..., BundleManifest]


@pytest.fixture
def write_files() -> WriteFiles:
    """Write a plain model folder: a classifier's files, changed by `{name: content}`; None omits a file."""

    def write(folder: Path, changes: dict[str, bytes | None] | None = None) -> Path:
        config = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "NEG", "1": "POS"}}
        files: dict[str, bytes | None] = {
            "config.json": json.dumps(config).encode(),
            "model.safetensors": b"weights of " + folder.name.encode(),
            "tokenizer.json": b"{}",
        }
        for name, content in (files | (changes or {})).items():
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        return folder

    return write


@pytest.fixture
def write_bundle(write_files: WriteFiles) -> WriteBundle:
    """Write a bundle with complete weights, or with an adapter if `base` is given."""

    def write(
        folder: Path, changes: dict[str, bytes | None] | None = None, base: BaseRef | None = None
    ) -> BundleManifest:
        adapter = {
            "model.safetensors": None,
            "adapter_model.safetensors": b"B, A",
            "adapter_config.json": b"{}",
        }
        write_files(folder, ({} if base is None else adapter) | (changes or {}))
        return write_manifest(folder, name="tiny", version="1", labels=["NEG", "POS"], base=base)

    return write
