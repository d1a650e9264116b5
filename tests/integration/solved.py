"""Generated texts of two kinds of letters, and bundles that classify them, solved in one step."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from serve_app.model.bundle import write_manifest
from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from tests.integration.models import save
from train.evaluation.calibration import fit_temperature

BAD = "abcde"
GOOD = "vwxyz"
OTHER = "fghijklmnopq"
LABELS = ["bad", "good"]


def invented(count: int, seed: int, kinds: tuple[str, str] = (BAD, GOOD)) -> list[tuple[str, int]]:
    """Return texts of letters, two of them of the label's kind; one label in eight is wrong."""
    rng = random.Random(seed)
    rows = []
    for i in range(count):
        kind = i % 2
        words = [rng.choice(kinds[kind]) for _ in range(2)]
        words += [rng.choice(OTHER) for _ in range(rng.randint(2, 9))]
        rng.shuffle(words)
        rows.append((" ".join(words), kind if rng.random() > 0.12 else 1 - kind))
    return rows


def write_csv(path: Path, rows: list[tuple[str, int]]) -> None:
    lines = [f"{text},{LABELS[label]},{'left' if i % 3 else 'right'}" for i, (text, label) in enumerate(rows)]
    path.write_text("\n".join(["text,label,side", *lines]) + "\n")


def make(folder: Path, labels: list[int], rows: list[tuple[str, int]]) -> Path:
    """Create a calibrated bundle of a random BERT whose head is the least-squares fit to these labels."""
    save(folder, "bert", seed=1, num_labels=2, id2label=dict(enumerate(LABELS)), hidden_size=64)
    classifier = Classifier(fetch(str(folder), cache_dir=folder.parent / "cache"), device="cpu")
    encoded = classifier.preprocess([text for text, _ in rows])
    _, embeddings = classifier.logits_and_embeddings(encoded)
    ones = torch.ones(len(rows), 1)
    inputs = torch.cat([embeddings, ones], dim=1)
    wanted = 2.0 * torch.tensor(labels, dtype=torch.float32).unsqueeze(1) - 1.0
    ridge = 1e-3 * torch.eye(inputs.shape[1])
    solved = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ wanted)
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = torch.stack([-solved[:-1, 0], solved[:-1, 0]])
    tensors["classifier.bias"] = torch.stack([-solved[-1, 0], solved[-1, 0]])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    logits = torch.stack([-(inputs @ solved)[:, 0], (inputs @ solved)[:, 0]], dim=1).numpy()
    temperature = round(fit_temperature([logits], [labels]), 4)
    write_manifest(folder, name=folder.name, version="1", labels=LABELS, temperature=temperature)
    return folder
