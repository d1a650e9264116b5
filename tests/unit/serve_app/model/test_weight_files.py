"""Tests of weight files: only complete sets of safetensors are accepted."""

import json
from pathlib import Path

import pytest

from serve_app.errors import InvalidBundleError, UnsafeArtifactError
from serve_app.model.weight_files import INDEX, check_shards, refuse_pickles


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a/optimizer.PT", "x.pkl", "tf_model.h5", "x.ckpt"])
def test_files_that_may_run_code_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsafeArtifactError, match=Path(name).name):
        refuse_pickles(Path("folder"), ["config.json", name])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shards = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": shards}))

    check_shards(tmp_path, [INDEX, *shards.values()])
    with pytest.raises(InvalidBundleError, match=r"model-2\.safetensors"):
        check_shards(tmp_path, [INDEX, "model-1.safetensors"])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": ["x"]}}'])
def test_a_broken_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)

    with pytest.raises(InvalidBundleError, match=INDEX):
        check_shards(tmp_path, [INDEX])


def test_without_an_index_there_is_nothing_to_check(tmp_path: Path) -> None:
    check_shards(tmp_path, ["model.safetensors"])
