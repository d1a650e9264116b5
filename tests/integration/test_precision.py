"""Tests of the precision of loaded models: `auto` converts a model only if its answers stay the same."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from serve_app.settings import Settings, settings_of
from tests.integration.models import save

AUTO = {"device": "cpu", "dtype": "auto", "auto_dtype": torch.bfloat16}


def load(uri: str, tmp_path: Path, **options: object) -> Classifier:
    return Classifier(resolver.fetch(uri, cache_dir=tmp_path / "cache"), **options)  # type: ignore[arg-type]


def save_with_head(folder: Path, scale: float) -> Path:
    """Save a model whose labels differ by a constant; `scale` is the size of what their logits share."""
    save(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.copy_(scale * model.classifier.weight[:1].repeat(3, 1))
        model.classifier.bias.copy_(torch.tensor([0.0, 0.3, 0.6]))
    model.save_pretrained(folder)
    return folder


def test_a_model_that_answers_the_same_is_converted(tmp_path: Path) -> None:
    folder = save_with_head(tmp_path / "fine", 0.1)
    classifier = load(str(folder), tmp_path, **AUTO)
    assert classifier.dtype == "bfloat16" and classifier.packed and classifier.graph


def test_the_builtin_model_answers_the_same_in_bfloat16(tmp_path: Path) -> None:
    assert load("builtin:", tmp_path, **AUTO).dtype == "bfloat16"


@pytest.mark.parametrize(("scale", "dtype"), [(1e5, torch.bfloat16), (1e6, torch.float16)])
def test_a_model_that_answers_otherwise_stays_in_float32(
    scale: float, dtype: torch.dtype, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_with_head(tmp_path / "coarse", scale)  # rounding hides 0.3; 1e6 overflows float16
    with caplog.at_level(logging.WARNING, "ray.serve"):
        classifier = load(str(folder), tmp_path, **{**AUTO, "auto_dtype": dtype})
    assert classifier.dtype == "float32"
    [message] = [record.getMessage() for record in caplog.records if "float32" in record.getMessage()]
    assert str(folder) in message and str(dtype).removeprefix("torch.") in message
    exact = load(str(folder), tmp_path, dtype="float32")
    batch = exact.preprocess(["a b c", "d e"])
    assert classifier.forward(batch) == exact.forward(batch)


def test_a_requested_precision_is_used_without_the_check(tmp_path: Path) -> None:
    folder = save_with_head(tmp_path / "coarse", 1e5)
    assert load(str(folder), tmp_path, dtype="bfloat16").dtype == "bfloat16"


def test_the_deprecated_name_works_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert Settings().precision == "auto"
    for make in (
        lambda: settings_of({"SENTIMENT_DTYPE": "float16"}),
        lambda: (monkeypatch.setenv("SENTIMENT_DTYPE", "float16"), Settings())[1],
    ):
        caplog.clear()
        assert make().precision == "float16"
        assert "SENTIMENT_PRECISION" in caplog.text
    monkeypatch.setenv("SENTIMENT_PRECISION", "bfloat16")
    assert Settings().precision == "bfloat16"
