"""`python -m benchmarks.neutral --data DATA_DIR`: shares of answers by SENTIMENT_NEUTRAL_BELOW.

Positive and negative texts are those that the settings hold out; neutral texts are those whose label the
settings drop, which no training reads. The everyday test set is evaluated too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from serve_app.interface import NEUTRAL
from train.datasets.examples import Example
from train.datasets.splits import read_set, read_splits
from train.evaluation.evaluate import LocalModel
from train.model_uri import model_uri
from train.settings import DataSettings, FileSettings, read_settings

THRESHOLDS = (0.0, 0.6, 0.7, 0.8, 0.9, 0.95)
_BATCH_TEXTS = 64


def main() -> None:
    """Print one table row for each set and threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="builtin:", help="URI of the model (default: builtin:)")
    parser.add_argument(
        "--config", type=Path, default=Path("train/teacher.toml"), help="settings of the sets"
    )
    parser.add_argument("--data", required=True, help="folder or URI of the settings' files")
    parser.add_argument("--texts", type=int, default=400, help="maximum number of texts of each group")
    args = parser.parse_args()
    model = LocalModel(model_uri(args.bundle))
    labels = (*model.labels, NEUTRAL)
    settings = read_settings(args.config)
    sources = tuple(source for source in settings.data if source.drop_labels)
    splits = read_splits(settings.model_copy(update={"data": sources, "test": ()}), args.data)
    sets = {
        source.name: (
            splits[source.name].held_out[: args.texts],
            _neutral(source, labels, args.data)[: args.texts],
        )
        for source in sources
    }
    everyday = read_set(FileSettings(name="everyday", file="test.csv"), labels, "train/everyday")
    sets["everyday"] = (
        tuple(example for example in everyday if labels[example.label] != NEUTRAL),
        tuple(example for example in everyday if labels[example.label] == NEUTRAL),
    )
    print("| set | texts, neutral | below | answered | accuracy | neutral texts answered NEUTRAL |")
    print("|---|---|---|---|---|---|")
    for name, (clear, neutral) in sets.items():
        scores, best = _best(model, clear)
        is_right = best == np.array([example.label for example in clear])
        neutral_scores, _ = _best(model, neutral)
        for threshold in THRESHOLDS:
            answered = scores >= threshold
            print(
                f"| {name} | {len(clear)}, {len(neutral)} | {threshold or 'not set'} | {answered.mean():.2f} "
                f"| {is_right[answered].mean():.3f} | {(neutral_scores < threshold).mean():.2f} |",
                flush=True,
            )


def _neutral(source: DataSettings, labels: tuple[str, ...], root: str) -> tuple[Example, ...]:
    """Return the texts of a set whose label is dropped, each once, in an order that depends on hashes."""
    only_neutral = source.model_copy(
        update={
            "label_names": dict.fromkeys(source.drop_labels, NEUTRAL),
            "drop_labels": tuple(source.label_names),
        }
    )
    return read_set(only_neutral, labels, root)


def _best(model: LocalModel, examples: tuple[Example, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the best score of each text and the index of its label."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].text))
    rows = np.empty((len(examples), len(model.labels)), dtype=np.float32)
    for begin in range(0, len(order), _BATCH_TEXTS):
        batch = order[begin : begin + _BATCH_TEXTS]
        rows[batch] = model.answer([examples[i].text for i in batch]).scores
    return rows.max(axis=1), rows.argmax(axis=1)


if __name__ == "__main__":
    main()
