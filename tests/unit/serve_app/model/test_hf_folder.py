"""Tests of plain Hugging Face folders: a description from their files, or a refusal with the reason."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.errors import BundleNotFoundError, InvalidBundleError, UnsafeArtifactError
from serve_app.model.bundle import verify
from serve_app.model.hf_folder import describe_plain

WriteFiles = Callable[..., Path]


def config(**changes: Any) -> dict[str, bytes]:
    plain = {"architectures": ["RobertaForSequenceClassification"]} | changes
    return {"config.json": json.dumps(plain).encode()}


def test_labels_come_in_the_order_of_the_logits(tmp_path: Path, write_files: WriteFiles) -> None:
    labels = {str(number): f"L{number}" for number in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    manifest = describe_plain(write_files(tmp_path, config(id2label=labels)))

    assert manifest.labels == tuple(f"L{number}" for number in range(11))


def test_labels_left_out_are_transformers_default(tmp_path: Path, write_files: WriteFiles) -> None:
    assert describe_plain(write_files(tmp_path, config())).labels == ("LABEL_0", "LABEL_1")


def test_name_and_version_come_from_the_folder_and_its_content(
    tmp_path: Path, write_files: WriteFiles
) -> None:
    first = describe_plain(write_files(tmp_path / "my model (2)"))
    again = describe_plain(tmp_path / "my model (2)")
    (tmp_path / "my model (2)" / "model.safetensors").write_bytes(b"other weights")
    changed = describe_plain(tmp_path / "my model (2)")

    assert first.name == "my-model-2-"
    assert len(first.version) == 12
    assert first == again
    assert changed.version != first.version


def test_what_the_caller_knows_better_is_taken(tmp_path: Path, write_files: WriteFiles) -> None:
    manifest = describe_plain(write_files(tmp_path), name="sst2", version="abc")

    assert (manifest.name, manifest.version) == ("sst2", "abc")


def test_pickles_beside_safetensors_are_left_out(tmp_path: Path, write_files: WriteFiles) -> None:
    manifest = describe_plain(write_files(tmp_path, {"pytorch_model.bin": b"", "training_args.bin": b""}))

    assert set(manifest.files) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_shards_are_whole_weights(tmp_path: Path, write_files: WriteFiles) -> None:
    index = json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()
    shards = {"model.safetensors": None, "model.safetensors.index.json": index, "model-1.safetensors": b"1"}
    manifest = describe_plain(write_files(tmp_path, shards))

    verify(tmp_path, manifest)
    assert "model-1.safetensors" in manifest.files


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"config.json": None}, BundleNotFoundError, "config.json"),
        ({"config.json": b"{"}, InvalidBundleError, "config.json"),
        ({"config.json": b"[]"}, InvalidBundleError, "not a JSON object"),
        ({"model.safetensors": None}, InvalidBundleError, "no model.safetensors"),
        ({"model.safetensors": None, "pytorch_model.bin": b""}, UnsafeArtifactError, "pytorch_model.bin"),
        ({"adapter_model.safetensors": b""}, InvalidBundleError, "adapter without"),
        (config(architectures=["BertModel"]), InvalidBundleError, "BertModel"),
        (config(id2label={"0": "SCORE"}), InvalidBundleError, "labels"),
        (config(id2label={"0": "A", "2": "B"}), InvalidBundleError, "[0, 2]"),
        (config(id2label=["A", "B"]), InvalidBundleError, "id2label"),
        (config(id2label={"zero": "A", "one": "B"}), InvalidBundleError, "id2label"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(
    tmp_path: Path,
    write_files: WriteFiles,
    changes: dict[str, bytes | None],
    error: type[Exception],
    named: str,
) -> None:
    with pytest.raises(error) as caught:
        describe_plain(write_files(tmp_path, changes))

    assert named in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError):
        describe_plain(tmp_path / "nowhere")
