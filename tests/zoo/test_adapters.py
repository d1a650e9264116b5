"""Tests of adapters written by PEFT's `save_pretrained`: imported with their base, refused without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification

from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from serve_app.model.scorer import EncodedText
from tests.zoo.architectures import save
from train.__main__ import main

IDS = [[20, 21, 22], [30, 9, 12, 13, 14]]
# PEFT does not store a new pooler in an adapter, so the base of BERT must contain one.
BASES = {
    "bert": "AutoModelForSequenceClassification",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
}
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:fan_in_fan_out")


def save_adapter(base: Path, folder: Path, labels: int) -> torch.Tensor:
    """Save an adapter with random weights, and return its logits of `IDS`."""
    torch.manual_seed(1)
    plain = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=labels, ignore_mismatched_sizes=True
    )
    settings = LoraConfig(task_type=TaskType.SEQ_CLS, r=4, lora_alpha=8, target_modules="all-linear")
    model = get_peft_model(plain, settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2)
        model.save_pretrained(folder)
        return torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in IDS])


@pytest.mark.parametrize("architecture", BASES)
def test_an_adapter_is_imported_with_its_base(
    architecture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save(tmp_path / "base", architecture, head=BASES[architecture])
    expected = save_adapter(base, tmp_path / "mine", labels=2)

    registry = ["--registry", f"sqlite:///{tmp_path}/r.db", "--artifacts", str(tmp_path / "artifacts")]
    options = ["--name", "mine", "--version", "1", "--labels", "BAD", "GOOD", *registry]
    assert main(["import", str(tmp_path / "mine"), "--base", str(base), *options]) == 0, capsys.readouterr()
    capsys.readouterr()
    assert main(["show", "mine/1", "--json", *registry]) == 0
    uri = json.loads(capsys.readouterr().out)["uri"]
    classifier = Classifier(resolver.fetch(uri, cache_dir=tmp_path / "cache"), device="cpu", dtype="float32")
    assert classifier.labels == ("BAD", "GOOD")
    logits = classifier.logits([EncodedText(ids, truncated=False) for ids in IDS])
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)


def test_an_adapter_alone_says_how_to_import_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = save(tmp_path / "base")
    save_adapter(base, tmp_path / "mine", labels=3)
    data = tmp_path / "texts.csv"
    data.write_text("text,label\ngood,a\nbad,b\n", encoding="utf-8")
    registry = ["--registry", f"sqlite:///{tmp_path}/r.db", "--artifacts", str(tmp_path / "artifacts")]
    for arguments in (
        ["import", str(tmp_path / "mine"), *registry],
        ["evaluate", "--bundle", str(tmp_path / "mine"), "--data", str(data), "--out", str(tmp_path / "e")],
        ["fit", "--base", str(tmp_path / "mine"), "--data", str(data), "--out", str(tmp_path / "f")],
    ):
        assert main(arguments) == 1, arguments
        assert "python -m train import FOLDER --base BASE" in capsys.readouterr().err


def test_an_adapter_with_another_base_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_adapter(save(tmp_path / "base"), tmp_path / "mine", labels=3)
    other = save(tmp_path / "other", "distilbert")
    registry = ["--registry", f"sqlite:///{tmp_path}/r.db", "--artifacts", str(tmp_path / "artifacts")]
    assert main(["import", str(tmp_path / "mine"), "--base", str(other), *registry]) == 1
    assert "trained on another base" in capsys.readouterr().err
