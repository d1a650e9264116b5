"""Tests of the classifier on real models: packed and padded logits equal those of the plain model."""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from serve_app.errors import InvalidBundleError
from serve_app.model import bundle, resolver
from serve_app.model.classifier import Classifier
from serve_app.model.packed import pack
from tests.integration.models import ARCHITECTURES, LETTERS, PACKED, save

SAME = 1e-5


def load(folder: Path, tmp_path: Path, **options: object) -> Classifier:
    options = {"dtype": "float32", **options}  # on every CPU
    return Classifier(resolver.fetch(str(folder), cache_dir=tmp_path / "cache"), **options)  # type: ignore[arg-type]


def texts(count: int = 40, longest: int = 70) -> list[str]:
    rng = random.Random(1)
    return [" ".join(rng.choices(LETTERS, k=rng.randint(1, longest))) for _ in range(count)]


@torch.inference_mode()
def plain_logits(folder: Path, batch: list[list[int]]) -> torch.Tensor:
    """Run one text at a time through the model as transformers loads it: no padding, no batch, no hook."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return torch.cat([model(input_ids=torch.tensor([ids])).logits for ids in batch])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_the_plain_models(architecture: str, tmp_path: Path) -> None:
    folder = save(tmp_path / architecture, architecture)
    classifier = load(folder, tmp_path)
    assert classifier.packed == classifier.graph == (architecture in PACKED)
    batch = classifier.preprocess(texts())
    expected = plain_logits(folder, [item.ids for item in batch])
    assert expected.std() > 0.01, "the answers differ, so that a mix-up would show"
    torch.testing.assert_close(classifier.logits(batch), expected, atol=SAME, rtol=0)
    alone = torch.cat([classifier.logits([item]) for item in batch])
    torch.testing.assert_close(alone, expected, atol=SAME, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_forwards_side_by_side_do_not_touch_each_other(architecture: str, tmp_path: Path) -> None:
    classifier = load(save(tmp_path / architecture, architecture), tmp_path, threads=1)
    items = classifier.preprocess(texts(count=240, longest=30))
    batches = [items[start : start + 1 + start // 7 % 7] for start in range(0, 240, 7)]
    expected = [classifier.logits(batch) for batch in batches]
    together = threading.Barrier(3)

    def run(lane: int) -> None:
        together.wait(timeout=30)
        for turn in range(4 * len(batches)):
            place = turn * (lane + 1) % len(batches)  # each thread has its own order of batches
            torch.testing.assert_close(classifier.logits(batches[place]), expected[place], atol=SAME, rtol=0)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as lanes:
            list(lanes.map(run, range(3)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("architecture", PACKED)
def test_the_padded_forward_agrees_and_costs_more_tokens(architecture: str, tmp_path: Path) -> None:
    folder = save(tmp_path / architecture, architecture)
    packed, padded = load(folder, tmp_path), load(folder, tmp_path, packed=False)
    assert packed.packed and not padded.packed
    batch = packed.preprocess(texts())
    torch.testing.assert_close(padded.logits(batch), packed.logits(batch), atol=SAME, rtol=0)
    lengths = [item.tokens for item in batch]
    assert packed.computed_tokens(lengths) == sum(lengths)
    assert sum(lengths) < padded.computed_tokens(lengths) <= sum(lengths) / (1 - 0.15)


def test_a_refused_model_is_left_plain(tmp_path: Path) -> None:
    folder = save(tmp_path / "mpnet", "mpnet")
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = torch.tensor([[2, 5, 6, 7, 3]])
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        assert pack(model) is None
        torch.testing.assert_close(model(input_ids=ids).logits, before, atol=0, rtol=0)


@pytest.mark.parametrize("architecture", PACKED)
@torch.inference_mode()
def test_models_built_alike_share_a_graph_and_answer_by_their_own_weights(
    architecture: str, tmp_path: Path
) -> None:
    batch = [[2, *range(5, 5 + length), 3] for length in (40, 1, 17, 3)]
    folders = [save(tmp_path / str(seed), architecture, seed=seed) for seed in (1, 2)]
    answers = []
    for folder in folders:
        packed = pack(AutoModelForSequenceClassification.from_pretrained(folder).eval())
        assert packed is not None and packed.graph is not None
        answers.append(packed.logits(batch))
        torch.testing.assert_close(answers[-1], plain_logits(folder, batch), atol=SAME, rtol=0)
        torch.testing.assert_close(answers[-1], packed.logits(batch, eager=True), atol=SAME, rtol=0)
    assert (answers[0] - answers[1]).abs().max() > 0.01


def test_a_graph_is_not_shared_where_only_the_config_differs(tmp_path: Path) -> None:
    item = [2, *range(5, 30), 3]
    for heads in (4, 2, 8):  # weights of the same shape
        folder = save(tmp_path / str(heads), num_attention_heads=heads)
        packed = pack(AutoModelForSequenceClassification.from_pretrained(folder).eval())
        assert packed is not None and packed.graph is not None
        torch.testing.assert_close(packed.logits([item]), plain_logits(folder, [item]), atol=SAME, rtol=0)


def test_a_model_that_a_trace_gets_wrong_runs_eagerly(tmp_path: Path) -> None:
    folder = save(tmp_path / "own", intermediate_size=48)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def add_nothing(_module: Any, _args: Any, hidden: torch.Tensor) -> torch.Tensor:
        return hidden + torch.tensor([0.0] * int(hidden.shape[1])).unsqueeze(-1)  # a trace fixes the length

    model.bert.embeddings.register_forward_hook(add_nothing)
    packed = pack(model)
    assert packed is not None and packed.graph is None
    batch = [[2, 5, 6, 3], [2, 3]]
    torch.testing.assert_close(packed.logits(batch), plain_logits(folder, batch), atol=SAME, rtol=0)


def test_scores_are_probabilities_in_the_order_of_the_batch(tmp_path: Path) -> None:
    classifier = load(save(tmp_path / "bert"), tmp_path)
    batch = classifier.preprocess(["a b c", "d", "e f"])
    scores = classifier.forward(batch)
    assert [sum(row) for row in scores] == pytest.approx([1, 1, 1])
    assert scores == [pytest.approx(classifier.forward([item])[0], abs=SAME) for item in batch]
    assert classifier.labels == ("bad", "so so", "good")


def test_labels_that_do_not_exclude_one_another_are_scored_each(tmp_path: Path) -> None:
    folder = save(tmp_path / "many", problem_type="multi_label_classification")
    classifier = load(folder, tmp_path)
    batch = classifier.preprocess(["a b c"])
    expected = torch.sigmoid(plain_logits(folder, [batch[0].ids]))[0].tolist()
    assert classifier.forward(batch)[0] == pytest.approx(expected, abs=SAME)
    assert classifier.activation == "sigmoid"


def test_the_bundles_temperature_and_length_are_applied(tmp_path: Path) -> None:
    folder = save(tmp_path / "bundle")
    plain = load(folder, tmp_path)
    bundle.write_manifest(
        folder, name="tiny", version="1", labels=plain.labels, temperature=2.0, max_length=10
    )
    classifier = load(folder, tmp_path)
    assert classifier.max_length == 10
    [short, long] = classifier.preprocess(["a b c", "a " * 40])
    assert (short.truncated, short.tokens) == (False, 5)
    assert (long.truncated, long.tokens) == (True, 10)
    expected = torch.softmax(plain.logits([short]) / 2, dim=-1)[0].tolist()
    assert classifier.forward([short])[0] == pytest.approx(expected, abs=SAME)


@pytest.mark.parametrize(("architecture", "limit"), [("bert", 64), ("roberta", 64)])
def test_texts_are_cut_where_tokenizer_or_model_end(architecture: str, limit: int, tmp_path: Path) -> None:
    classifier = load(save(tmp_path / "long", architecture), tmp_path)
    assert classifier.max_length == limit
    narrow = load(save(tmp_path / "narrow", architecture, max_position_embeddings=20), tmp_path)
    assert narrow.max_length == (20 if architecture == "bert" else 19)  # RoBERTa's first position is pad + 1
    [item] = narrow.preprocess(["a " * 60])
    narrow.forward([item])


def test_an_encoder_without_a_head_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "headless")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("classifier")}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(InvalidBundleError, match=r"no weights for classifier\.bias"):
        load(folder, tmp_path)


def test_labels_of_manifest_and_model_must_be_as_many(tmp_path: Path) -> None:
    folder = save(tmp_path / "two")
    bundle.write_manifest(folder, name="tiny", version="1", labels=["yes", "no"])
    with pytest.raises(InvalidBundleError, match="3 labels, the manifest has 2"):
        load(folder, tmp_path)


def test_threads_are_set(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        load(save(tmp_path / "bert"), tmp_path, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_warm_up_batches_cover_one_text_and_full_batches_in_every_lane_twice(tmp_path: Path) -> None:
    classifier = load(save(tmp_path / "bert"), tmp_path)
    one, same, full, again = classifier.warm_up_batches(max_tokens=300, lanes=2)
    assert len(one) == 1 and one == same and full == again
    assert 2 * (300 - full[0].tokens) < sum(item.tokens for item in full) <= 2 * 300


@pytest.mark.parametrize("architecture", PACKED)
def test_half_precision_is_packed_too(architecture: str, tmp_path: Path) -> None:
    folder = save(tmp_path / architecture, architecture)
    exact, half = load(folder, tmp_path), load(folder, tmp_path, dtype="bfloat16")
    assert half.packed and half.dtype == "bfloat16"
    batch = exact.preprocess(texts(count=10))
    for row, expected in zip(half.forward(batch), exact.forward(batch), strict=True):
        assert row == pytest.approx(expected, abs=0.1)  # bfloat16 has 8 bits of mantissa
    for count in range(1, len(batch)):  # rows of other lengths, completed by fillers of other lengths
        rows, alone = half.logits(batch[:count]), half.logits([batch[0]])
        assert len(rows) == count and rows[0].tolist() == pytest.approx(alone[0].tolist(), abs=0.05)
