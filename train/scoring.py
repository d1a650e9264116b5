"""`score`: a model's scores of a data set, or of all sets of a run, offline, through Ray Data."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.model.classifier import Classifier
from serve_app.model.store import fetch
from train.errors import DataInvalid, TrainError
from train.local_ray import quiet_data, start_ray
from train.models import CACHE, model_uri
from train.settings import SCORE_PREFIX, FitSettings
from train.texts.columns import column_names, read_columns
from train.texts.files import join, list_files

PREDICTED = "predicted_label"
SET = "set"

_TEXT = "__text"
"""Where the text stands on its way to the model, whatever the data call it."""
_BATCH_TEXTS = 2048
_GROUP_TOKENS = {"cpu": 4096, "cuda": 32_768}
"""Padded tokens of one forward."""


def score(
    model: str, data: str, out: Path, *, text: str = "text", workers: int = 1, gpu: bool = False
) -> int:
    """Write every row of the data with a column of scores for each label.

    Args:
        model: Address of the model.
        data: File, folder or address of the texts.
        out: A folder that must not exist; gets Parquet files with all columns of the data, for each label
            `score_LABEL`: float32, its probability after the model's temperature, and `PREDICTED`: the label
            with the highest.
        text: Column of the text.
        workers: Processes, each with the model.
        gpu: One GPU for each.

    Returns:
        How many texts were scored.

    Raises:
        TrainError: The data or the folder is not what it should be.
        serve_app.errors.BundleError: The model cannot be loaded.
    """
    files = [{"file": file, "text": text} for file in list_files(data)]
    return _score(model, files, out, workers=workers, gpu=gpu)


def score_sets(
    model: str, settings: FitSettings, root: str, out: Path, *, workers: int = 1, gpu: bool = False
) -> int:
    """As `score`, every set that a run trains on.

    Args:
        model: Address of the model.
        settings: Of the run.
        root: Folder or address of its files.
        out: A folder that must not exist; gets a folder `set=NAME` for each set, of Parquet files with the
            columns `text`, `label` and those that `score` adds.
        workers: Processes, each with the model.
        gpu: One GPU for each.

    Returns:
        How many texts were scored.

    Raises:
        TrainError: The data or the folder is not what it should be.
        serve_app.errors.BundleError: The model cannot be loaded.
    """
    files = [
        {"file": file, "text": source.text, "label": source.label, SET: source.name}
        for source in settings.data
        for file in list_files(join(root, source.file))
    ]
    return _score(model, files, out, workers=workers, gpu=gpu, partition_cols=[SET])


def _score(
    model: str, files: list[dict[str, str]], out: Path, *, workers: int, gpu: bool, **layout: Any
) -> int:
    import ray
    import ray.data
    from pyarrow.parquet import ParquetFile

    if out.exists():
        raise TrainError(f"{out} exists; choose another --out, or remove it")
    bundle = fetch(model_uri(model), cache_dir=CACHE)
    start_ray(os.cpu_count() or 1)
    quiet_data()
    threads = max(1, int(ray.cluster_resources()["CPU"]) // workers)
    # Reading and writing wait for files; the cores are the models'.
    rows = ray.data.from_items(files).map_batches(_read, batch_size=1, num_cpus=0)
    scored = rows.map_batches(
        _Scorer,
        batch_size=_BATCH_TEXTS,
        concurrency=workers,
        num_cpus=threads,
        num_gpus=1 if gpu else 0,
        fn_constructor_args=(bundle.uri, threads),
    )
    draft = out.with_name(f".{out.name}.part")
    scored.write_parquet(str(draft.absolute()), ray_remote_args={"num_cpus": 0}, **layout)
    draft.rename(out)
    return sum(ParquetFile(file).metadata.num_rows for file in out.rglob("*.parquet"))


def _read(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A file's rows: all columns of a file alone; text, label and set of one among several sets."""
    file, text = str(batch["file"][0]), str(batch["text"][0])
    label = str(batch["label"][0]) if SET in batch else None
    row = 0
    for columns in read_columns(file, (text, label) if label else (text,), column_names(file)):
        texts = columns[text]
        for content in texts:
            if not isinstance(content, str):
                raise DataInvalid(f"{file} row {row} column {text!r}: no text; remove the row")
            row += 1
        if label is None:
            kept = {name: np.asarray(values) for name, values in columns.items()}
        else:
            kept = {"text": np.array(texts), "label": np.array([str(value) for value in columns[label]])}
            kept[SET] = np.full(len(texts), str(batch[SET][0]))
        yield {_TEXT: np.asarray(texts), **kept}


class _Scorer:
    """One process's model."""

    def __init__(self, uri: str, threads: int) -> None:
        self._classifier = Classifier(fetch(uri, cache_dir=CACHE), threads=threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        encoded = self._classifier.preprocess([str(text) for text in batch.pop(_TEXT)])
        labels = self._classifier.labels
        scores = np.empty((len(encoded), len(labels)), dtype=np.float32)
        budget = _GROUP_TOKENS[self._classifier.device.partition(":")[0]]
        for group in _groups([text.tokens for text in encoded], budget):
            scores[group] = self._classifier.forward([encoded[i] for i in group])
        of_label = {f"{SCORE_PREFIX}{label}": scores[:, i] for i, label in enumerate(labels)}
        return {**batch, **of_label, PREDICTED: np.array(labels)[scores.argmax(axis=1)]}


def _groups(lengths: Sequence[int], budget_tokens: int) -> Iterator[list[int]]:
    """Indices of like lengths, as many as fit the budget when padded; one at least."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    begin = 0
    while begin < len(order):
        count = max(1, budget_tokens // lengths[order[begin]])
        yield order[begin : begin + count]
        begin += count
