"""Tests that unusable model folders are refused on loading, with the reason and the next step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from serve_app.errors import BundleError
from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from tests.zoo.architectures import build_tokenizer, save
from tests.zoo.test_served import change_config
from train.__main__ import main

WEIGHTS = "model.safetensors"


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("token*"):
        path.unlink()


def tokenizer_of_nothing(folder: Path) -> None:
    """Replace the vocabulary by words that occur in no text."""
    own = build_tokenizer(words=("xqzt",))
    vocabulary = json.loads(own.backend_tokenizer.to_str())["model"]["vocab"]
    text = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    text["model"]["vocab"] = {word: i for word, i in vocabulary.items() if i < 6}
    (folder / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")


def tokenizer_of_another_model(folder: Path) -> None:
    """Save a tokenizer with more tokens than the model has embeddings."""
    build_tokenizer(words=tuple(f"word{i}" for i in range(400))).save_pretrained(folder)


def words_added_without_resizing(folder: Path) -> None:
    own = build_tokenizer()
    own.add_tokens([f"word{i}" for i in range(400)])
    own.save_pretrained(folder)


def not_finite(folder: Path) -> None:
    change_weights(folder, lambda name, tensor: tensor * torch.nan if "layer.1" in name else tensor)


def overflowing(folder: Path) -> None:
    """Write finite weights whose products overflow."""
    change_weights(folder, lambda name, tensor: tensor * 0 + 3e38 if name == "classifier.weight" else tensor)


def no_head(folder: Path) -> None:
    change_weights(folder, lambda name, tensor: None if name.startswith("classifier") else tensor)


def another_number_of_labels(folder: Path) -> None:
    change_config(folder, id2label={str(i): str(i) for i in range(5)}, label2id=None)


def broken_download(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def pointer(folder: Path, name: str = WEIGHTS) -> None:
    (folder / name).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 437955512\n", encoding="utf-8"
    )


def pointer_of_the_tokenizer(folder: Path) -> None:
    pointer(folder, "tokenizer.json")


def pointer_of_the_config(folder: Path) -> None:
    pointer(folder, "config.json")


def quantised(folder: Path) -> None:
    change_config(folder, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})


def regression(folder: Path) -> None:
    change_config(folder, problem_type="regression")


def one_output(folder: Path) -> None:
    shutil.rmtree(folder)
    save(folder, labels=("rating",))


def masked_language_model(folder: Path) -> None:
    shutil.rmtree(folder)
    save(folder, head="AutoModelForMaskedLM")


def masked_language_model_that_does_not_say_so(folder: Path) -> None:
    masked_language_model(folder)
    change_config(folder, architectures=None)


def unknown_model_type(folder: Path) -> None:
    change_config(folder, model_type="my_own")


def labels_of_another_kind(folder: Path) -> None:
    change_config(folder, id2label=["bad", "so so", "good"])


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


REFUSED: dict[Callable[[Path], None], str] = {
    no_tokenizer: "tokenizer",
    tokenizer_of_nothing: "knows no word of plain sentences",
    tokenizer_of_another_model: "the model has only 320 embeddings",
    words_added_without_resizing: "the model has only 320 embeddings: ",
    not_finite: "weight .*layer.1.* is not finite",
    overflowing: "not finite",
    no_head: "no weights for classifier",
    another_number_of_labels: "classifier.bias has the shape .3,.; expected .5,. by config.json .5 labels",
    broken_download: "safetensors, are damaged or incomplete",
    pointer: f"{WEIGHTS} is a Git LFS pointer",
    pointer_of_the_tokenizer: "tokenizer.json is a Git LFS pointer",
    pointer_of_the_config: "config.json is a Git LFS pointer",
    quantised: "quantised",
    regression: "regression",
    one_output: "regression",
    masked_language_model: "fine-tune",
    masked_language_model_that_does_not_say_so: "fine-tune",
    unknown_model_type: "my_own",
    labels_of_another_kind: "id2label",
    no_json: "config.json",
}
CASES = pytest.mark.parametrize(
    ("spoil", "message"), REFUSED.items(), ids=[spoil.__name__ for spoil in REFUSED]
)


@CASES
def test_a_folder_that_cannot_work_is_refused_when_it_is_loaded(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / "model")
    spoil(folder)
    with pytest.raises(BundleError, match=f"(?s){message}") as refused:
        Classifier(resolver.fetch(str(folder), cache_dir=tmp_path / "cache"), device="cpu")
    assert str(folder) in str(refused.value)


def test_import_refuses_what_a_replica_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save(tmp_path / "model")
    not_finite(folder)
    registry = ["--registry", f"sqlite:///{tmp_path}/registry.db", "--artifacts", str(tmp_path / "artifacts")]
    assert main(["import", str(folder), "--name", "zoo", "--version", "1", *registry]) == 1
    assert "is not finite" in capsys.readouterr().err
    assert main(["list", *registry]) == 0
    assert "zoo" not in capsys.readouterr().out


def test_a_multi_label_model_is_not_measured_as_if_its_labels_excluded_one_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save(tmp_path / "model", problem_type="multi_label_classification")
    (tmp_path / "texts.csv").write_text("text,label\nfine,good\npoor,bad\n", encoding="utf-8")
    out = ["--data", str(tmp_path / "texts.csv"), "--out", str(tmp_path / "out")]
    assert main(["evaluate", "--bundle", str(folder), *out]) == 1
    assert "multi-label" in capsys.readouterr().err


def change_weights(folder: Path, change: Callable[[str, torch.Tensor], torch.Tensor | None]) -> None:
    tensors = {name: change(name, tensor) for name, tensor in load_file(folder / WEIGHTS).items()}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
