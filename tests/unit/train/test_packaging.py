"""Tests of published bundles: they verify with their card, also after a change of the card."""

from pathlib import Path

import pytest

from serve_app.errors import ChecksumMismatchError
from serve_app.model.bundle import BaseRef, read_manifest, verify, write_manifest
from train.packaging import publish


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name in ("config.json", "adapter_config.json", "adapter_model.safetensors"):
        (folder / name).write_text("{}")
    base = BaseRef(uri="pypi:base", sha256={"model.safetensors": "0" * 64})
    write_manifest(folder, name="a", version="7", labels=("N", "P"), base=base, temperature=1.5)
    return folder


def test_the_card_is_covered(bundle: Path, tmp_path: Path) -> None:
    to = tmp_path / "shipped"
    to.mkdir()
    for text in ("the card", "the card, corrected"):
        (to / "README.md").write_text(text)

        manifest = publish(bundle, to)

        verify(to, read_manifest(to))
        assert set(manifest.files) == {*read_manifest(bundle).files, "README.md"}
        assert (manifest.version, manifest.temperature) == ("7", 1.5)


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "adapter_model.safetensors").write_text("other")

    with pytest.raises(ChecksumMismatchError):
        publish(bundle, tmp_path / "shipped")
