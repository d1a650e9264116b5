"""Tests of five training steps and of serving the bundle: one architecture of each kind, both methods.

The training loop runs in this process, in the local mode of Ray Train; tests/integration/test_fit.py uses a
cluster.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray.train
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from tests.zoo.architectures import WORDS, save
from tests.zoo.test_fitted import settings
from tests.zoo.test_served import SAME, pipeline_scores
from train.base_model import find_base, load_tokenizer
from train.datasets.dedup import word_keys
from train.datasets.reading import read_examples
from train.datasets.splits import data_digest, divide_sets, keys_of
from train.datasets.tokenized import TokenWriter, write_parts
from train.profile import read_profile
from train.settings import FitSettings
from train.training.artifacts import write_result
from train.training.data import Prepared, open_prepared
from train.training.loop import train_loop
from train.training.preflight import check_base

LABELS = ("no", "yes")
CHANGES = {
    "optimiser": {"batch_texts": 16, "micro_batch_tokens": 256, "precision": "float32", "average_decay": 0.0},
    "progress": {"evaluations": 1, "sample_texts": 10},
}
BASES = {
    "bert": "AutoModelForMaskedLM",
    "deberta-v2": "AutoModelForMaskedLM",
    "distilbert": "AutoModelForMaskedLM",
    "mobilebert": "AutoModelForSequenceClassification",
    "xlnet": "AutoModelForSequenceClassification",
    "eurobert": "AutoModelForSequenceClassification",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
}


def write_texts(path: Path) -> None:
    rng = random.Random(1)
    rows = ["text,label"]
    for _ in range(100):
        label = rng.choice(LABELS)
        rows.append(" ".join([*rng.choices(WORDS, k=rng.randint(1, 90)), label * 3]) + f",{label}")
    path.write_text("\n".join(rows), encoding="utf-8")


def prepare(run: FitSettings, root: Path, folder: Path) -> Prepared:
    """Write the same files as `train.training.data`, without a cluster."""
    tokenizer = load_tokenizer(find_base(run.base)).backend_tokenizer
    examples = read_examples(str(root), run.data[0], run.labels)
    ids = [tokenizer.encode(example.text).ids for example in examples]
    writer = TokenWriter(folder / "texts")
    writer.add(
        np.concatenate(ids).astype(np.int32),
        np.array([len(of_text) for of_text in ids], dtype=np.int32),
        np.array([len(word_keys(example.text)) for example in examples], dtype=np.int32),
        keys_of(examples),
    )
    sets = {"texts": writer.finish()}
    parts = divide_sets(run, sets, [], {})
    write_parts(folder / "texts", parts["texts"])
    digest = data_digest(sets, parts)
    (folder / "data.json").write_text(json.dumps({"digest": digest, "sets": ["texts"]}), encoding="utf-8")
    return open_prepared(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("architecture", BASES)
def test_five_steps_end_in_a_bundle_that_serves(
    architecture: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "base", architecture, head=BASES[architecture])
    write_texts(tmp_path / "texts.csv")
    run = settings(folder, method, LABELS, **CHANGES)
    base = find_base(run.base)
    served = check_base(base, run, tmp_path)
    prepared = prepare(run, tmp_path, tmp_path / "prepared")
    kept = tmp_path / "checkpoint"

    def report(metrics: Any, checkpoint: Any) -> None:  # the local mode does not store checkpoints
        shutil.copytree(checkpoint.path, kept, dirs_exist_ok=True)

    monkeypatch.setattr(ray.train, "report", report)
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: None)
    config = {
        "settings": run.model_dump(mode="json"),
        **asdict(served),
        "prepared": str(tmp_path / "prepared"),
        "threads": 0,
        "max_steps": 5,
    }
    trainer = TorchTrainer(train_loop, train_loop_config=config, scaling_config=ScalingConfig(num_workers=0))
    assert trainer.fit().return_value is None

    bundle = write_result(run, base, prepared, kept, tmp_path, location="", workers=1, wall_s=1.0)
    classifier = Classifier(fetch(str(bundle), cache_dir=tmp_path / "cache"), device="cpu", dtype="float32")
    texts = ["the room was good", "bad", "we had a good day and a late night"]
    scores = classifier.forward(classifier.preprocess(texts))
    profile, embeddings = read_profile(bundle)
    assert classifier.labels == profile.labels == LABELS and classifier.activation == "softmax"
    assert np.isfinite(embeddings).all() and profile.texts == len(prepared.tables["texts"].parts.held_out)
    report_json = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    [look] = report_json["history"]
    measured = report_json["held_out"]["texts"]["balanced_accuracy"]
    # The accuracy during training is that of the written bundle on the same texts.
    assert look["held_out_balanced_accuracy"] == pytest.approx(measured, abs=0.2)
    if method == "full":
        temperature = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))["temperature"]
        shown = pipeline_scores(bundle, texts)
        logs = [np.log([row[label] for label in LABELS]) / temperature for row in shown]
        expected = [np.exp(log) / np.exp(log).sum() for log in logs]
        np.testing.assert_allclose(scores, expected, atol=SAME)
