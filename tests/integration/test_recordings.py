"""Tests of recorded models: equal answers without transformers, damaged and foreign entries, limits."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from serve_app.model import resolver, torchscript
from serve_app.model.classifier import Classifier
from serve_app.model.recording_cache import MAX_ENTRIES, RecordingCache, RecordingKey, load_or_record
from tests.integration.models import PACKED, save

TEXTS = ["a b c", "d", "a [SEP] b </s> [CLS]", "a " * 100, "? # unknown"]


@pytest.fixture
def recordings(tmp_path: Path) -> RecordingCache:
    return RecordingCache(tmp_path / "recordings")


def load(tmp_path: Path, architecture: str = "bert", **options: Any) -> tuple[RecordingKey, Classifier]:
    bundle = resolver.fetch(str(save(tmp_path / architecture, architecture)), cache_dir=tmp_path / "cache")
    options = {"device": "cpu", "dtype": "float32", "threads": 1, **options}
    return RecordingKey(bundle.manifest.digest, options["dtype"]), Classifier(bundle, **options)


def entry(tmp_path: Path, key: RecordingKey) -> Path:
    return tmp_path / "recordings" / key.name


@pytest.mark.parametrize("architecture", PACKED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_recorded_model_answers_the_same(
    architecture: str, dtype: str, tmp_path: Path, recordings: RecordingCache
) -> None:
    key, exact = load(tmp_path, architecture, dtype=dtype)
    recordings.store(key, exact)
    recorded = recordings.load(key, threads=1)
    assert recorded is not None and recorded.graph and recorded.packed
    batch = recorded.preprocess(TEXTS)
    assert batch == exact.preprocess(TEXTS)
    torch.testing.assert_close(recorded.logits(batch), exact.logits(batch), atol=0, rtol=0)
    assert recorded.forward(batch) == exact.forward(batch)
    for name in ("labels", "activation", "max_length", "device", "dtype"):
        assert getattr(recorded, name) == getattr(exact, name)


def test_a_recorded_model_loads_in_a_process_without_transformers(
    tmp_path: Path, recordings: RecordingCache
) -> None:
    key, exact = load(tmp_path)
    recordings.store(key, exact)
    code = f"""
import sys
from pathlib import Path
from serve_app.model.recording_cache import RecordingCache, RecordingKey
key = RecordingKey({key.digest!r}, "float32")
classifier = RecordingCache(Path({str(tmp_path / "recordings")!r})).load(key, threads=1)
print(classifier.forward(classifier.preprocess({TEXTS!r})), "transformers" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{exact.forward(exact.preprocess(TEXTS))} False"


@pytest.mark.parametrize("file", ["graph.pt", "weights.safetensors", "tokenizer.json", "recording.json"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_entry_is_written_again(
    file: str, damage: str, tmp_path: Path, recordings: RecordingCache
) -> None:
    key, classifier = load(tmp_path)
    recordings.store(key, classifier)
    path = entry(tmp_path, key) / file
    content = path.read_bytes()
    half = len(content) // 2
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(
            content[:half] if damage == "truncated" else content[:half] + b"\0" + content[half + 1 :]
        )
    assert recordings.load(key, threads=1) is None and not entry(tmp_path, key).exists()
    recordings.store(key, classifier)
    assert recordings.load(key, threads=1) is not None


def test_a_recording_that_computes_other_logits_is_refused(
    tmp_path: Path, recordings: RecordingCache
) -> None:
    key, classifier = load(tmp_path)
    recordings.store(key, classifier)
    other_key, other = load(tmp_path / "other", "roberta")
    recordings.store(other_key, other)
    settings = (entry(tmp_path, key) / "recording.json").read_text()
    swapped = settings.replace('"first_position": 0', '"first_position": 2')
    assert swapped != settings
    (entry(tmp_path, key) / "recording.json").write_text(swapped)
    assert recordings.load(key, threads=1) is None
    assert recordings.load(other_key, threads=1) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "0" * 64},
        {"dtype": "auto"},
        {"base": {"vocab.txt": "0" * 64}},
        {"fastest": "torch.float16"},
        {"versions": {"torch": "0.0.1", "transformers": "5.0.0", "tokenizers": "0.1"}},
        {"cpu": {"machine": "x86_64", "avx512_bf16": "True"}},
        {"code": "0" * 64},
    ],
)
def test_an_entry_is_used_for_its_model_its_versions_and_its_cpu_only(
    change: Mapping[str, Any], tmp_path: Path, recordings: RecordingCache
) -> None:
    key = RecordingKey("1" * 64, "float32")
    (tmp_path / "recordings" / key.name).mkdir(parents=True)
    other = replace(key, **change)
    assert other.name != key.name and recordings.load(other, threads=1) is None
    assert (tmp_path / "recordings" / key.name).is_dir(), "the entry of another key is not touched"


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, recordings: RecordingCache) -> None:
    key, classifier = load(tmp_path)
    recordings.store(key, classifier)
    (tmp_path / "recordings").chmod(0o777)
    assert recordings.load(key, threads=1) is None
    (tmp_path / "recordings").chmod(0o700)
    assert recordings.load(key, threads=1) is not None


def test_an_entry_of_others_is_not_executed(tmp_path: Path, recordings: RecordingCache) -> None:
    """Its name and checksums can be computed by anybody who could write to the folder once."""
    key, classifier = load(tmp_path)
    recordings.store(key, classifier)
    assert entry(tmp_path, key).stat().st_mode & 0o077 == 0
    entry(tmp_path, key).chmod(0o770)
    assert recordings.load(key, threads=1) is None and not entry(tmp_path, key).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_cannot_be_searched_fails_nothing(tmp_path: Path, recordings: RecordingCache) -> None:
    key, classifier = load(tmp_path)
    recordings.store(key, classifier)
    code = f"""
import os
from pathlib import Path
from serve_app.model.recording_cache import RecordingCache, RecordingKey
key = RecordingKey({key.digest!r}, "float32")
os.setuid(65534)
print(RecordingCache(Path({str(tmp_path / "recordings")!r})).load(key, threads=1))
"""
    tmp_path.chmod(0o700)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "None", run.stderr


def test_a_disk_that_is_full_keeps_no_part_of_an_entry(
    tmp_path: Path, recordings: RecordingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, classifier = load(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "graph.pt").write_bytes(b"a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(classifier, "record_to", fail)
    recordings.store(key, classifier)
    assert [path.name for path in (tmp_path / "recordings").iterdir() if path.is_dir()] == []


def test_a_refused_graph_is_not_reused(tmp_path: Path, recordings: RecordingCache) -> None:
    key, classifier = load(tmp_path)
    recordings.store(key, classifier)
    settings = entry(tmp_path, key) / "recording.json"
    structure = json.loads(settings.read_text())["settings"]["structure"]
    changed = settings.read_text().replace(json.dumps(structure), json.dumps(f"{structure} changed"))
    settings.write_text(changed.replace('"first_position": 0', '"first_position": 2'))
    assert recordings.load(key, threads=1) is None
    assert f"{structure} changed" not in torchscript._recorded


def test_files_replaced_while_they_are_loaded_are_not_recorded(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "bert")
    bundle = resolver.fetch(str(folder), cache_dir=tmp_path / "cache")
    (bundle.folder / "config.json").write_text((bundle.folder / "config.json").read_text() + " ")
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "threads": 1}
    load_or_record(bundle, **options, root=tmp_path / "recordings")
    assert not (tmp_path / "recordings").exists()


def test_a_cache_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    key, classifier = load(tmp_path)
    recordings = RecordingCache(tmp_path / "file" / "recordings")
    recordings.store(key, classifier)
    assert recordings.load(key, threads=1) is None


def test_the_oldest_entries_are_removed(tmp_path: Path, recordings: RecordingCache) -> None:
    key, classifier = load(tmp_path)
    keys = [replace(key, digest=str(index)) for index in range(MAX_ENTRIES + 2)]
    for one in keys:
        recordings.store(one, classifier)
    assert [recordings.load(one, threads=1) is not None for one in keys] == [False] * 2 + [True] * MAX_ENTRIES


def test_a_model_without_a_graph_is_not_recorded(tmp_path: Path, recordings: RecordingCache) -> None:
    key, classifier = load(tmp_path, packed=False)
    recordings.store(key, classifier)
    assert not (tmp_path / "recordings").exists()
