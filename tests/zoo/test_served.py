"""Tests that every architecture is served with the same scores as the pipeline of transformers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AddedToken, AutoTokenizer, pipeline

from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from serve_app.model.padding import LENGTHS
from tests.zoo.architectures import ARCHITECTURES, NO_PAD, WORDS, save

SAME = 1e-5
ROUNDING = 0.1
"""Maximum difference of a score in bfloat16, whose mantissa has 8 bits."""
NO_BFLOAT16 = {"fnet"}
"""Architectures with an operation that torch has in float32 only; "auto" serves them in float32."""
SCORES_DIFFER = 1e-4
"""Minimum difference between the scores of different texts, large enough to detect swapped texts."""


def load(folder: Path, tmp_path: Path, *, dtype: str = "float32", packed: bool = True) -> Classifier:
    bundle = resolver.fetch(str(folder), cache_dir=tmp_path / "cache")
    return Classifier(bundle, device="cpu", dtype=dtype, packed=packed)


def texts() -> list[str]:
    rng = random.Random(5)
    lengths = (1, 2, 2, 3, 5, 9, 9, 17, 24, 60)  # the longest text is truncated
    return [" ".join(rng.choices(WORDS, k=length)).capitalize() + "." for length in lengths]


def pipeline_scores(folder: Path, of_texts: list[str], **options: object) -> list[dict[str, float]]:
    """Return the scores of the pipeline of transformers, for one text at a time and so without padding."""
    classify = pipeline("text-classification", str(folder), device="cpu", truncation=True, **options)
    return [{row["label"]: row["score"] for row in classify(text, top_k=None)} for text in of_texts]


def scores(classifier: Classifier, of_texts: list[str]) -> list[dict[str, float]]:
    rows = classifier.forward(classifier.preprocess(of_texts))
    return [dict(zip(classifier.labels, row, strict=True)) for row in rows]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_the_pipelines(architecture: str, tmp_path: Path) -> None:
    folder = save(tmp_path / architecture, architecture)
    expected = pipeline_scores(folder, texts())
    assert max(row["good"] for row in expected) - min(row["good"] for row in expected) > SCORES_DIFFER
    classifier = load(folder, tmp_path)
    together = scores(classifier, texts())
    alone = [scores(classifier, [text])[0] for text in texts()]
    for index, row in enumerate(expected):
        assert together[index] == pytest.approx(row, abs=SAME), f"text {index} in a batch"
        assert alone[index] == pytest.approx(row, abs=SAME), f"text {index} alone"


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - NO_BFLOAT16))
def test_scores_in_bfloat16_are_those_in_float32_except_for_rounding(
    architecture: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / architecture, architecture)
    exact, half = (load(folder, tmp_path, dtype=dtype) for dtype in ("float32", "bfloat16"))
    # Rounding hides the effects of padding and packing, so what float32 shows is valid for both.
    assert exact.packed or not half.packed
    assert LENGTHS.index(half.padding.lengths) >= LENGTHS.index(exact.padding.lengths)
    for row, expected in zip(scores(half, texts()), scores(exact, texts()), strict=True):
        assert row == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(
    ("architecture", "dtype"),
    [(name, "float32") for name in ("mobilebert", "fnet", "convbert", "nystromformer")]
    + [(name, "bfloat16") for name in ("mobilebert", "convbert", "nystromformer")],
)
def test_a_model_that_padding_changes_runs_texts_of_equal_lengths(
    architecture: str, dtype: str, tmp_path: Path
) -> None:
    classifier = load(save(tmp_path / architecture, architecture), tmp_path, dtype=dtype)
    assert classifier.padding.lengths == "equal"
    assert classifier.padding.groups([3, 5, 3, 4]) == [[0, 2], [3], [1]]


@pytest.mark.parametrize("architecture", sorted(NO_PAD))
def test_a_decoder_without_a_pad_token_runs_batches(architecture: str, tmp_path: Path) -> None:
    classifier = load(save(tmp_path / architecture, architecture), tmp_path)
    assert classifier.padding.lengths == "similar"


def test_the_text_is_cut_on_the_side_that_the_tokenizer_says(tmp_path: Path) -> None:
    folder = save(tmp_path / "left")
    change_tokenizer(folder, truncation_side="left")
    long = ["good " + "the " * 80 + "bad", "the " * 80 + "bad"]
    assert scores(load(folder, tmp_path), long) == [
        pytest.approx(row, abs=SAME) for row in pipeline_scores(folder, long)
    ]
    [first, second] = load(folder, tmp_path).preprocess(long)
    assert first.truncated and first.ids == second.ids


def test_special_tokens_written_out_in_a_text_are_text(tmp_path: Path) -> None:
    for architecture in ("bert", "bart", "llama"):
        classifier = load(save(tmp_path / architecture, architecture), tmp_path)
        special = set(classifier.preprocess(["a"])[0].ids[::-2]) if architecture != "llama" else set()
        [item] = classifier.preprocess(["the </s> room <pad> was <mask> good <s>"])
        inside = item.ids[1:-1] if special else item.ids
        assert not {0, 1, 2, 4} & set(inside)
        classifier.forward([item])


def test_labels_that_do_not_exclude_one_another_are_scored_as_by_the_pipeline(tmp_path: Path) -> None:
    folder = save(tmp_path / "many", problem_type="multi_label_classification")
    assert scores(load(folder, tmp_path), texts()) == [
        pytest.approx(row, abs=SAME) for row in pipeline_scores(folder, texts())
    ]


def test_a_configuration_without_architectures_is_a_classifier_if_its_weights_are(tmp_path: Path) -> None:
    folder = save(tmp_path / "bare")
    change_config(folder, architectures=None)
    assert scores(load(folder, tmp_path), texts()[:2]) == [
        pytest.approx(row, abs=SAME) for row in pipeline_scores(folder, texts()[:2])
    ]


def test_special_tokens_added_without_resizing_leave_the_texts_as_they_are(tmp_path: Path) -> None:
    folder = save(tmp_path / "added", "gpt2")
    expected = pipeline_scores(folder, texts())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    while len(tokenizer) <= 330:
        tokenizer.add_tokens([AddedToken(f"<{len(tokenizer)}>", special=True)])
    tokenizer.add_special_tokens({"pad_token": "[late]"})
    tokenizer.save_pretrained(folder)
    assert tokenizer.pad_token_id > 320
    assert scores(load(folder, tmp_path), texts()) == [pytest.approx(row, abs=SAME) for row in expected]


@pytest.mark.parametrize("architecture", ["bert", "xlnet", "gpt2", "llama", "bart", "t5", "mobilebert"])
def test_the_embedding_decides_the_logits(architecture: str, tmp_path: Path) -> None:
    classifier = load(save(tmp_path / architecture, architecture), tmp_path)
    encoded = classifier.preprocess(texts())
    logits, embeddings = classifier.logits_and_embeddings(encoded)
    assert embeddings.dim() == 2 and len(embeddings) == len(encoded)
    torch.testing.assert_close(logits, classifier.logits(encoded), atol=SAME, rtol=0)
    torch.testing.assert_close(classifier.logits_of_embeddings(embeddings), logits, atol=SAME, rtol=0)


def change_config(folder: Path, **changes: object) -> None:
    change_json(folder / "config.json", **changes)


def change_tokenizer(folder: Path, **changes: object) -> None:
    change_json(folder / "tokenizer_config.json", **changes)


def change_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


@pytest.mark.parametrize("architecture", sorted(NO_BFLOAT16))
def test_a_model_without_bfloat16_is_served_in_float32(architecture: str, tmp_path: Path) -> None:
    bundle = resolver.fetch(str(save(tmp_path / architecture, architecture)), cache_dir=tmp_path / "cache")
    classifier = Classifier(bundle, device="cpu", dtype="auto", auto_dtype=torch.bfloat16)
    assert classifier.dtype == "float32" and classifier.padding.lengths == "equal"
