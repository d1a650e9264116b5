"""`python -m train fit` for real: Ray Train, a tiny random BERT, two hundred invented texts."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOOD = ("good", "great", "lovely", "fine", "superb")
BAD = ("bad", "awful", "poor", "dull", "sad")
OTHER = ("the", "film", "cream", "was", "a", "very", "and", "it", "day", "one", "two", "three")

SETTINGS = """
name = "trial"
version = "1"
base = "{base}"
labels = ["NEGATIVE", "POSITIVE"]
max_length = 32
seed = 3

[lora]
rank = 4
alpha = 8.0

[optimiser]
batch_texts = 16
micro_batch_tokens = 128
learning_rate = 1e-2
head_learning_rate = 1e-2
dropout = 0.0
average_decay = 0.9
precision = "float32"

[progress]
log_every_steps = 5
evaluations = 4
sample_texts = 10

[[data]]
name = "invented"
file = "invented.csv"
label_names = {{ bad = "NEGATIVE", good = "POSITIVE" }}
held_out = 0.2
passes = 8.0
"""

# One Ray cluster for all runs; two workers first, so that the cluster has room for them.
RUNS = """
import sys
from train.__main__ import main
common = ["fit", "--config", sys.argv[1], "--data", sys.argv[2], "--cpus", "1"]
for name, workers in (("pair", "2"), ("one", "1"), ("again", "1")):
    if main([*common, "--out", f"{sys.argv[3]}/{name}", "--workers", workers]):
        sys.exit(1)
first = f"{sys.argv[3]}/one/bundle"
if main([*common, "--out", f"{sys.argv[3]}/on", "--max-steps", "4", "--start-from", first]):
    sys.exit(1)
"""


def write_base(folder: Path) -> None:
    """A BERT of two layers with random weights, and a tokenizer that knows the words above."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *OTHER]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)


def write_texts(path: Path) -> None:
    rng = random.Random(1)
    rows = ["text,label"]
    for i in range(200):
        label, words = ("good", GOOD) if i % 2 else ("bad", BAD)
        text = [rng.choice(words) for _ in range(2)] + [rng.choice(OTHER) for _ in range(rng.randint(2, 9))]
        rng.shuffle(text)
        rows.append(f"{' '.join(text)},{label}")
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs' folder: `pair` by two workers, `one` and `again` by one, `on` from where `one` ended."""
    folder = tmp_path_factory.mktemp("fit")
    write_base(folder / "base")
    (folder / "data").mkdir()
    write_texts(folder / "data" / "invented.csv")
    (folder / "settings.toml").write_text(SETTINGS.format(base=folder / "base"))
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", RUNS, str(folder / "settings.toml"), str(folder / "data"), str(folder)],
        cwd=Path(__file__).parents[2],
        # At Ray's usual niceness of 15 a busy machine would starve the workers.
        env=environment | {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


@pytest.mark.ray
def test_the_loss_falls_and_unseen_texts_are_answered(runs: Path) -> None:
    found = report(runs / "one")

    losses = [look["loss"] for look in found["history"]]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 2
    assert found["held_out"]["invented"]["texts"] == found["texts"]["invented"]["held_out"]
    assert found["held_out"]["invented"]["balanced_accuracy"] > 0.9


@pytest.mark.ray
def test_a_seed_decides_the_result(runs: Path) -> None:
    one, again = (
        (runs / name / "bundle" / "adapter_model.safetensors").read_bytes() for name in ("one", "again")
    )

    assert one == again


@pytest.mark.ray
def test_a_run_goes_on_from_a_bundle(runs: Path) -> None:
    from serve_app.model.bundle import read_manifest

    one, on = (report(runs / name) for name in ("one", "on"))

    assert on["started_from"] == read_manifest(runs / "one" / "bundle").digest
    assert on["history"][0]["loss"] < one["history"][0]["loss"] / 2
    assert on["history"][0]["step"] == 1


@pytest.mark.ray
def test_two_workers_do_what_one_does(runs: Path) -> None:
    one, pair = (report(runs / name) for name in ("one", "pair"))

    assert pair["workers"] == 2
    assert pair["held_out"]["invented"]["balanced_accuracy"] > 0.9
    assert pair["held_out"]["invented"]["texts"] == one["held_out"]["invented"]["texts"]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_the_adapter_loads_with_peft_as_the_service_merges_it(runs: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from serve_app.model.classifier import Classifier
    from serve_app.model.store import fetch

    bundle = fetch(str(runs / "one" / "bundle"), cache_dir=runs / "cache")
    classifier = Classifier(bundle, device="cpu")
    base = AutoModelForSequenceClassification.from_pretrained(runs / "base", num_labels=2)
    peft_model = PeftModel.from_pretrained(base, bundle.folder).eval()

    encoded = classifier.preprocess(["the film was good and lovely", "awful cream"])
    served = classifier.logits(encoded)

    with torch.inference_mode():
        rows = [peft_model(torch.tensor([text.ids])).logits[0] for text in encoded]
    assert torch.allclose(served, torch.stack(rows), atol=1e-4)
    assert classifier.labels == ("NEGATIVE", "POSITIVE")
    assert [row.argmax().item() for row in rows] == [1, 0]


@pytest.mark.ray
def test_the_bundle_says_what_it_is(runs: Path) -> None:
    from serve_app.model.bundle import read_manifest

    manifest = read_manifest(runs / "one" / "bundle")

    assert (manifest.name, manifest.version) == ("trial", "1")
    assert manifest.base is not None
    assert manifest.data_digest
    assert manifest.metrics["held_out"] == report(runs / "one")["held_out"]
