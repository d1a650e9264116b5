"""Tests that both methods can train every architecture, or refuse it before the first step."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.zoo.architectures import ARCHITECTURES, LABELS, save
from train.base_model import find_base
from train.errors import BaseModelError, TrainError
from train.settings import FitSettings
from train.training.preflight import check_base

METHODS = ("lora", "full")
REFUSED = {("ibert", "lora"): "does not fit the base", ("mixtral", "lora"): "mixture of experts"}


def settings(folder: Path, method: str, labels: tuple[str, ...] = LABELS, **changes: object) -> FitSettings:
    values = {
        "name": "zoo",
        "version": "1",
        "base": str(folder),
        "labels": labels,
        "method": method,
        "max_length": 64,
        "lora": {"rank": 4},
        "data": [{"name": "texts", "file": "texts.csv"}],
    }
    return FitSettings.model_validate(values | changes)


def check(folder: Path, method: str, labels: tuple[str, ...] = LABELS) -> None:
    run = settings(folder, method, labels)
    check_base(find_base(str(folder)), run, folder.parent)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_classifier_goes_on(architecture: str, method: str, tmp_path: Path) -> None:
    folder = save(tmp_path / architecture, architecture)
    if message := REFUSED.get((architecture, method)):
        with pytest.raises(TrainError, match=f"{message}.*--method full"):
            check(folder, method)
        return
    check(folder, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "architecture", ["bert", "bart", "qwen2", "llama", "gpt2", "t5", "deberta-v2", "xlnet"]
)
def test_a_classifier_gets_other_labels(architecture: str, method: str, tmp_path: Path) -> None:
    check(save(tmp_path / architecture, architecture), method, ("no", "yes"))


HEADLESS = {
    "bert": "AutoModelForMaskedLM",
    "roberta": "AutoModelForMaskedLM",
    "deberta": "AutoModelForMaskedLM",
    "deberta-v2": "AutoModelForMaskedLM",
    "distilbert": "AutoModelForMaskedLM",
    "electra": "AutoModelForMaskedLM",
    "mobilebert": "AutoModelForMaskedLM",
    "modernbert": "AutoModelForMaskedLM",
    "xlm-roberta": "AutoModel",
    "mpnet": "AutoModel",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "qwen2": "AutoModelForCausalLM",
    "t5": "AutoModelForSeq2SeqLM",
    "bart": "AutoModelForSeq2SeqLM",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", HEADLESS)
def test_a_language_model_becomes_a_classifier(architecture: str, method: str, tmp_path: Path) -> None:
    check(save(tmp_path / architecture, architecture, head=HEADLESS[architecture]), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("problem", "labels"),
    [("multi_label_classification", LABELS), ("regression", LABELS), ("regression", ("rating",))],
)
def test_what_is_trained_is_what_is_served(
    problem: str, labels: tuple[str, ...], method: str, tmp_path: Path
) -> None:
    """Check that a base of any problem type is trained and served with a softmax over the labels."""
    folder = save(tmp_path / "base", labels=labels, problem_type=problem)
    check(folder, method, LABELS)


def test_a_base_whose_weights_are_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "mixed", "bert", head="AutoModel")
    shutil.copy(save(tmp_path / "other", "t5", head="AutoModel") / "model.safetensors", folder)
    with pytest.raises(BaseModelError, match=r"do not match its config\.json"):
        check(folder, "full")
