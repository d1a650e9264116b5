"""Tests of `python -m train fit`: Ray Train, a tiny random BERT, two hundred generated texts."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from tests.integration.aws import listening, moto, point_at

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

# One Ray cluster serves all runs; the run with two workers is first, so that the cluster has room for them.
# The worker of `remote` is killed after a checkpoint of it is in S3.
RUNS = """
import sys, threading, time
from pathlib import Path
import boto3, psutil
from train.__main__ import main
folder = sys.argv[1]
common = ["fit", "--config", f"{folder}/settings.toml", "--data", f"{folder}/data", "--cpus", "1"]
first = f"{folder}/one/bundle"
options = {
    "pair": ["--workers", "2"],
    "one": [],
    "patient": ["--set", "progress.patience=1", "progress.evaluations=8", "optimiser.learning_rate=1e-9"],
    "renamed": ["--base", first, "--max-steps", "60", "--set", "labels=['POOR', 'RICH']",
                "data=[{name='invented', file='invented.csv', passes=8.0, "
                "label_names={bad='POOR', good='RICH'}}]"],
    "taught": ["--method", "full",
               "--set", "optimiser.learning_rate=3e-3", "optimiser.class_weights=balanced",
               "data=[{name='invented', file='scored', passes=8.0, teacher_weight=1.0, "
               "label_names={bad='POSITIVE', good='NEGATIVE'}}]"],
    "remote": ["--data", "s3://fit/data", "--checkpoints", "s3://fit/runs", "--resume"],
}
def kill_a_worker():
    s3 = boto3.session.Session().client("s3")
    noted = "runs/fit/checkpoint_manager_snapshot.json"
    while not s3.list_objects_v2(Bucket="fit", Prefix=noted)["KeyCount"]:
        time.sleep(0.02)
    workers = [child for child in psutil.Process().children(recursive=True)
               if "RayTrainWorker" in " ".join(child.cmdline())]
    workers[0].kill()
    print(f"killed {len(workers)} worker")
for name, further in options.items():
    if name == "taught":
        texts, scored = f"{folder}/data/invented.csv", f"{folder}/data/scored"
        assert main(["score", "--bundle", first, "--data", texts, "--out", scored]) == 0
    if name == "remote":
        threading.Thread(target=kill_a_worker, daemon=True).start()
    if main([*common, "--out", f"{folder}/{name}", *further]):
        sys.exit(1)
texts = ["--data", f"{folder}/data/invented.csv", "--label-names", "bad=NEGATIVE", "good=POSITIVE"]
options = [*texts, "--base", first, "--epochs", "2", "--held-out", "0.3", "--set", "max_length=32"]
assert main(["fit", *options, "--cpus", "1", "--out", f"{folder}/options"]) == 0
assert main([*common, "--out", f"{folder}/nan", "--set", "optimiser.learning_rate=1e30"]) == 1
assert main([*common, "--out", f"{folder}/one"]) == 1
assert main([*common, "--out", f"{folder}/bad", "--set", "data=[{name='invented', file='bad.csv'}]"]) == 1
"""

# The same as a SageMaker job, alone in its process.
JOB = """
import sys
from pathlib import Path
from train.sagemaker import job_of
from train.cli.sagemaker import run_job
sys.exit(run_job(job_of({"TRAINING_JOB_NAME": "job-1"}, root=Path(sys.argv[1]))))
"""


def write_base(folder: Path) -> None:
    """Write a BERT of two layers with random weights, and a tokenizer that knows the words above."""
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a base model, texts and settings."""
    folder = tmp_path_factory.mktemp("fit")
    write_base(folder / "base")
    (folder / "data").mkdir()
    write_texts(folder / "data" / "invented.csv")
    (folder / "data" / "bad.csv").write_text("text,label\ngood film,POSITIVE\n,NEGATIVE\n")
    (folder / "settings.toml").write_text(SETTINGS.format(base=folder / "base"))
    write_job(folder / "ml", folder)
    return folder


def write_job(root: Path, source: Path) -> None:
    """Write the folders that SageMaker mounts for a job with these settings and texts, with checkpoints."""
    texts = root / "input/data/training"
    for made in (texts, root / "input/config", root / "checkpoints"):
        made.mkdir(parents=True)
    shutil.copy(source / "settings.toml", texts)
    shutil.copy(source / "data/invented.csv", texts)
    told = {"config": "settings.toml", "cpus": "1"}
    (root / "input/config/hyperparameters.json").write_text(json.dumps(told))


def start(code: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start Python with `code` in its own session, with all output in `log`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=Path(__file__).parents[2],
            # At Ray's default niceness of 15, a busy machine would starve the workers.
            env=environment | {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finish(run: subprocess.Popen[bytes], log: Path) -> None:
    try:
        assert run.wait(timeout=900) == 0, log.read_text()[-5000:]
    finally:
        kill_all(run)


def kill_all(run: subprocess.Popen[bytes]) -> None:
    """Kill the process and all of its Ray processes at once."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(run.pid)
        for child in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    run.wait(timeout=30)


def wait_for(condition: Callable[[], Any], run: subprocess.Popen[bytes]) -> Any:
    """Wait until the condition is true and return its value; the run must be alive until then."""
    while not (found := condition()):
        assert run.poll() is None, "the run ended before what it was waited for"
        time.sleep(0.02)
    return found


def weights(bundle: Path) -> bytes:
    return (bundle / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def s3(folder: Path) -> Iterator[None]:
    """Run an S3 on this machine that contains the texts and is configured for AWS's clients."""
    with listening(moto()) as endpoint, pytest.MonkeyPatch.context() as patch:
        point_at(endpoint, patch)
        client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket="fit")
        client.upload_file(str(folder / "data" / "invented.csv"), "fit", "data/invented.csv")
        yield


@pytest.fixture(scope="module")
def runs(folder: Path, s3: None) -> Path:
    """Return the folder with the results of all of RUNS."""
    finish(start(RUNS, str(folder), log=folder / "runs.log"), folder / "runs.log")
    return folder


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found


def test_the_loss_falls_and_unseen_texts_are_answered(runs: Path) -> None:
    found = report(runs / "one")

    losses = [look["loss"] for look in found["history"]]
    assert len(losses) == 4
    assert losses[-1] < losses[0] / 2
    assert found["held_out"]["invented"]["texts"] == found["texts"]["invented"]["held_out"]
    assert found["held_out"]["invented"]["balanced_accuracy"] > 0.8


def test_the_curves_are_drawn(runs: Path) -> None:
    assert (runs / "one" / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_two_workers_do_what_one_does(runs: Path) -> None:
    one, pair = (report(runs / name) for name in ("one", "pair"))

    assert pair["workers"] == 2
    found, alone = pair["held_out"]["invented"], one["held_out"]["invented"]
    assert found["texts"] == alone["texts"]
    assert found["balanced_accuracy"] == pytest.approx(alone["balanced_accuracy"], abs=0.1)


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_the_adapter_loads_with_peft_as_the_service_merges_it(runs: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from serve_app.model.classifier import Classifier
    from serve_app.model.resolver import fetch

    bundle = fetch(str(runs / "one" / "bundle"), cache_dir=runs / "cache")
    classifier = Classifier(bundle, device="cpu", dtype="float32")
    base = AutoModelForSequenceClassification.from_pretrained(runs / "base", num_labels=2)
    peft_model = PeftModel.from_pretrained(base, bundle.folder).eval()

    encoded = classifier.preprocess(["the film was good and lovely", "awful cream"])
    served = classifier.logits(encoded)

    with torch.inference_mode():
        rows = [peft_model(torch.tensor([text.ids])).logits[0] for text in encoded]
    assert torch.allclose(served, torch.stack(rows), atol=1e-4)
    assert classifier.labels == ("NEGATIVE", "POSITIVE")
    assert [row.argmax().item() for row in rows] == [1, 0]


def test_the_bundle_says_what_it_is(runs: Path) -> None:
    from serve_app.model.bundle import read_manifest

    manifest = read_manifest(runs / "one" / "bundle")

    assert (manifest.name, manifest.version) == ("trial", "1")
    assert manifest.base is not None
    assert manifest.data_digest
    assert manifest.metrics["held_out"] == report(runs / "one")["held_out"]


def test_a_run_that_learns_nothing_stops_early(runs: Path) -> None:
    history = report(runs / "patient")["history"]

    assert 2 <= len(history) < 8
    best = max(look["held_out_balanced_accuracy"] for look in history)
    assert best == history[0]["held_out_balanced_accuracy"]


def test_other_labels_get_a_new_head_on_the_encoder_that_was_trained(runs: Path) -> None:
    from serve_app.model.classifier import Classifier
    from serve_app.model.resolver import fetch

    bundle = fetch(str(runs / "renamed" / "bundle"), cache_dir=runs / "cache")

    assert bundle.base_folder is None
    assert Classifier(bundle, device="cpu").labels == ("POOR", "RICH")
    found = report(runs / "renamed")
    assert found["held_out"]["invented"]["balanced_accuracy"] > 0.8
    assert found["history"][-1]["step"] == 60, "--max-steps ends it"


def test_all_weights_can_be_trained_and_a_teacher_is_believed_over_the_labels(runs: Path) -> None:
    """Use the set `taught`, whose labels are swapped, with a teacher weight of 1."""
    from serve_app.model.bundle import read_manifest

    manifest = read_manifest(runs / "taught" / "bundle")

    assert manifest.base is None
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= manifest.files.keys()
    assert report(runs / "taught")["held_out"]["invented"]["balanced_accuracy"] < 0.2


def test_options_alone_describe_a_run_that_goes_on_from_a_bundle(runs: Path) -> None:
    from serve_app.model.bundle import read_manifest

    one, found = (report(runs / name) for name in ("one", "options"))
    parent = read_manifest(runs / "one" / "bundle")

    assert found["parent"]["digest"] == parent.digest
    assert read_manifest(runs / "options" / "bundle").base == parent.base
    assert found["history"][0]["loss"] < one["history"][0]["loss"] / 2

    assert found["settings"]["name"] == "invented"
    assert found["settings"]["labels"] == ["NEGATIVE", "POSITIVE"]
    assert [look["step"] for look in found["history"]][-1] == -(
        -found["texts"]["invented"]["train"] * 2 // 64
    )
    assert found["held_out"]["invented"]["balanced_accuracy"] > 0.8


def test_texts_and_checkpoints_may_be_in_s3_and_a_killed_worker_costs_time_alone(runs: Path) -> None:
    said = (runs / "runs.log").read_text()

    assert "killed 1 worker" in said and "resuming after step" in said
    assert steps(runs / "remote") == steps(runs / "one")
    assert weights(runs / "remote" / "bundle") == weights(runs / "one" / "bundle")
    assert not (runs / "remote" / "ray").exists()


def test_what_cannot_work_is_said_and_leaves_no_bundle(runs: Path) -> None:
    said = (runs / "runs.log").read_text()

    assert "error: the loss is not finite at step" in said
    assert "one/ray has an earlier run; continue it with --resume" in said
    assert "bad.csv row 1 column 'text': the text is empty" in said
    assert not (runs / "nan" / "bundle").exists()
    assert not (runs / "bad" / "bundle").exists()


def test_a_killed_sagemaker_job_goes_on_and_leaves_its_bundle_where_it_is_collected(runs: Path) -> None:
    root, log = runs / "ml", runs / "job.log"
    job = start(JOB, str(root), log=log)
    try:
        # A new start begins from the state that Ray Train has stored.
        wait_for(lambda: list((root / "checkpoints").rglob("checkpoint_manager_snapshot.json")), job)
    finally:
        kill_all(job)
    assert not (root / "model/bundle.json").exists()

    finish(start(JOB, str(root), log=log), log)

    assert "resuming after step" in log.read_text()
    manifest = json.loads((root / "model/bundle.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("trial", "job-1")
    assert weights(root / "model") == weights(runs / "one" / "bundle")
    assert {path.name for path in (root / "output/data").iterdir()} == {"report.json", "learning_curves.png"}
    assert not (root / "output/failure").exists()
    done = json.loads((root / "output/data/report.json").read_text())
    assert [look["step"] for look in done["history"]] == steps(runs / "one")


def steps(run: Path) -> list[int]:
    """Return the evaluations in the report."""
    return [look["step"] for look in report(run)["history"]]
