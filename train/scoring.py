"""`score`: a model's scores of every text of a data set, offline, through Ray Data."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.model.classifier import Classifier
from serve_app.model.store import fetch
from train.errors import DataInvalid, TrainError
from train.local_ray import quiet_data, start_ray
from train.models import CACHE, model_uri
from train.settings import SCORE_PREFIX
from train.texts.files import list_files
from train.texts.reading import column_names, read_columns

_BATCH_TEXTS = 256
_GROUP_TEXTS = 32


def score(
    model: str, data: str, out: Path, *, text: str = "text", workers: int = 1, gpu: bool = False
) -> int:
    """Write every row of the data with a column of scores for each label.

    Args:
        model: Address of the model.
        data: File, folder or address of the texts.
        out: A folder that must not exist; gets Parquet files with all columns of the data, and for each label
            `score_LABEL`: float32, its probability after the model's temperature.
        text: Column of the text.
        workers: Processes, each with the model.
        gpu: One GPU for each.

    Returns:
        How many texts were scored.

    Raises:
        TrainError: The data or the folder is not what it should be.
        serve_app.errors.BundleError: The model cannot be loaded.
    """
    import ray
    import ray.data
    from pyarrow.parquet import ParquetFile

    if out.exists():
        raise TrainError(f"{out} exists; choose another --out, or remove it")
    files = list_files(data)
    bundle = fetch(model_uri(model), cache_dir=CACHE)
    start_ray(os.cpu_count() or 1)
    quiet_data()
    threads = max(1, int(ray.cluster_resources()["CPU"]) // workers)
    rows = ray.data.from_items([{"file": file} for file in files]).map_batches(
        # Reading and writing wait for files; the cores are the models'.
        _read,
        batch_size=1,
        num_cpus=0,
        fn_kwargs={"text": text},
    )
    scored = rows.map_batches(
        _Scorer,
        batch_size=_BATCH_TEXTS,
        concurrency=workers,
        num_cpus=threads,
        num_gpus=1 if gpu else 0,
        fn_constructor_args=(bundle.uri, text, threads),
    )
    draft = out.with_name(f".{out.name}.part")
    scored.write_parquet(str(draft.absolute()), ray_remote_args={"num_cpus": 0})
    draft.rename(out)
    return sum(ParquetFile(file).metadata.num_rows for file in out.glob("*.parquet"))


def _read(batch: Mapping[str, Any], *, text: str) -> Iterator[dict[str, Any]]:
    file = str(batch["file"][0])
    for columns in read_columns(file, (text,), column_names(file)):
        for row, content in enumerate(columns[text]):
            if not isinstance(content, str):
                raise DataInvalid(f"{file} row {row} column {text!r}: no text; remove the row")
        yield {name: np.asarray(values) for name, values in columns.items()}


class _Scorer:
    """One process's model."""

    def __init__(self, uri: str, text: str, threads: int) -> None:
        self._classifier = Classifier(fetch(uri, cache_dir=CACHE), threads=threads)
        self._text = text

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        encoded = self._classifier.preprocess([str(text) for text in batch[self._text]])
        # Like lengths together, for models that are padded; then back in the order of the batch.
        order = sorted(range(len(encoded)), key=lambda i: encoded[i].tokens)
        scores = np.empty((len(encoded), len(self._classifier.labels)), dtype=np.float32)
        for begin in range(0, len(order), _GROUP_TEXTS):
            group = order[begin : begin + _GROUP_TEXTS]
            scores[group] = self._classifier.forward([encoded[i] for i in group])
        of_label = {f"{SCORE_PREFIX}{label}": scores[:, i] for i, label in enumerate(self._classifier.labels)}
        return {**batch, **of_label}
