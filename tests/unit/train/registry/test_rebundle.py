"""Tests of copies of a bundle with another name, version, base or labels: all other contents are equal."""

from pathlib import Path

import pytest

from serve_app.model.bundle import BaseRef, BundleManifest, read_manifest, verify, write_manifest
from train.errors import RegistryRequestError
from train.registry.rebundle import rebundle


def bundle(folder: Path, *, adapter: bool) -> BundleManifest:
    folder.mkdir()
    weights = ("adapter_config.json", "adapter_model.safetensors") if adapter else ("model.safetensors",)
    for name in ("config.json", "profile.json", *weights):
        (folder / name).write_text(name)
    return write_manifest(
        folder,
        name="senti",
        version="7",
        labels=["N", "P"],
        base=BaseRef(uri="pypi:base", sha256={"model.safetensors": "0" * 64}) if adapter else None,
        max_length=64,
        temperature=1.5,
        metrics={"f1": 0.9},
        reference_profile="profile.json",
        data_digest="d" * 64,
        code_commit="c" * 40,
    )


def test_what_is_not_changed_is_kept(tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "a", adapter=True)

    same = rebundle(tmp_path / "a", manifest, tmp_path / "b")
    other = rebundle(tmp_path / "a", manifest, tmp_path / "c", name="x", version="8", base="s3://b/base")

    assert same.digest == manifest.digest
    verify(tmp_path / "c", read_manifest(tmp_path / "c"))
    assert other.base == BaseRef(uri="s3://b/base", sha256={"model.safetensors": "0" * 64})
    changed = {"name": "x", "version": "8", "base": other.base}
    assert other == manifest.model_copy(update=changed)


def test_labels_are_renamed_one_by_one(tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "a", adapter=False)

    assert rebundle(tmp_path / "a", manifest, tmp_path / "b", labels=["bad", "good"]).labels == (
        "bad",
        "good",
    )
    with pytest.raises(RegistryRequestError, match=r"has 2 classes, \['N', 'P'\]; got 3"):
        rebundle(tmp_path / "a", manifest, tmp_path / "c", labels=["a", "b", "c"])


def test_whole_weights_have_no_base(tmp_path: Path) -> None:
    manifest = bundle(tmp_path / "a", adapter=False)

    with pytest.raises(RegistryRequestError, match="need no base"):
        rebundle(tmp_path / "a", manifest, tmp_path / "b", base="s3://b/base")
