"""Operation `score`: a model's scores of a data set, or of all sets of a run, offline, through Ray Data."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serve_app.cpu_limits import usable_cpus
from serve_app.model.classifier import Classifier
from serve_app.model.resolver import fetch
from train.datasets.columns import column_names, read_columns
from train.datasets.delimited import USUAL, Layout
from train.datasets.files import join, list_files
from train.datasets.reading import BadRows, layout_of, text_fault
from train.errors import DataError, TrainError
from train.model_uri import CACHE, model_uri
from train.ray_session import quiet_data, start_ray
from train.settings import SCORE_PREFIX, FitSettings

PREDICTED = "predicted_label"
SET = "set"

_TEXT = "__text"
"""Internal name of the text column, independent of its name in the data."""
_BATCH_TEXTS = 2048
_READERS = 2
"""Number of simultaneous read tasks per worker; each is a process."""
_GROUP_TOKENS = {"cpu": 4096, "cuda": 32_768}
"""Maximum number of padded tokens of one forward pass."""


@dataclass(frozen=True, slots=True)
class _TextSource:
    """Files to score, and how to read them.

    Attributes:
        file: Path or URI of a file or folder.
        text: Column of the text.
        layout: Layout of CSV files.
        skip_bad_rows: Maximum number of rows of a file without a text.
        label: Column of the label, for a run's set.
        name: Name of the run's set.
    """

    file: str
    text: str
    layout: Layout
    skip_bad_rows: int
    label: str | None = None
    name: str | None = None


def score(
    model: str,
    data: str,
    out: Path,
    *,
    text: str = "text",
    layout: Layout = USUAL,
    skip_bad_rows: int = 0,
    workers: int = 1,
    gpu: bool = False,
) -> int:
    """Write every row of the data with a column of scores for each label.

    All data are read once before the model starts, so that an error in the last file is found before any
    scoring.

    Args:
        model: URI of the model.
        data: File, folder or URI of the texts.
        out: Output folder, which must not exist, for Parquet files with all columns of the data; for each
            label `score_LABEL`, float32, its probability after temperature scaling; and `PREDICTED`, the
            label with the highest score. A column with values of several types, or with lists or objects, is
            stored as JSON text.
        text: Column of the text.
        layout: Layout of CSV files.
        skip_bad_rows: Maximum number of rows of a file without a text, which are omitted.
        workers: Number of processes, each with the model.
        gpu: Whether each process gets one GPU.

    Returns:
        Number of scored texts.

    Raises:
        TrainError: The data or the folder is invalid.
        serve_app.errors.BundleError: The model cannot be loaded.
    """
    return _score(model, [_TextSource(data, text, layout, skip_bad_rows)], out, workers=workers, gpu=gpu)


def score_sets(
    model: str, settings: FitSettings, root: str, out: Path, *, workers: int = 1, gpu: bool = False
) -> int:
    """Score every set that a run trains on, as `score` does.

    Args:
        model: URI of the model.
        settings: Settings of the run.
        root: Folder or URI of its files.
        out: Output folder, which must not exist, with a folder `set=NAME` for each set, of Parquet files with
            the columns `text`, `label` and those that `score` adds.
        workers: Number of processes, each with the model.
        gpu: Whether each process gets one GPU.

    Returns:
        Number of scored texts.

    Raises:
        TrainError: The data or the folder is invalid.
        serve_app.errors.BundleError: The model cannot be loaded.
    """
    sources = [
        _TextSource(
            join(root, of.file), of.text, layout_of(of), of.skip_bad_rows, label=of.label, name=of.name
        )
        for of in settings.data
    ]
    return _score(model, sources, out, workers=workers, gpu=gpu, partition_cols=[SET])


def _score(
    model: str, sources: list[_TextSource], out: Path, *, workers: int, gpu: bool, **layout: Any
) -> int:
    if out.exists():
        raise TrainError(f"{out} exists; choose another --out, or remove it")
    files = [(file, source) for source in sources for file in list_files(source.file)]
    texts, kinds = 0, dict[str, set[type]]()
    for file, source in files:
        for columns in _rows(file, source):
            texts += len(columns[source.text])
            for name, values in columns.items():
                kinds.setdefault(name, set()).update(type(value) for value in values if value is not None)
    if not texts:
        raise DataError(
            f"{', '.join(source.file for source in sources)}: no texts; set --data to files with rows"
        )
    bundle = fetch(model_uri(model), cache_dir=CACHE)
    Classifier(bundle, device="cpu").close()  # fail here, without a worker's traceback

    import ray
    import ray.data

    start_ray(usable_cpus())
    quiet_data()
    threads = max(1, int(ray.cluster_resources()["CPU"]) // workers)
    # Reading and writing wait for files, so the cores are left to the models.
    rows = ray.data.from_items(list(range(len(files)))).map_batches(
        _read,
        batch_size=1,
        num_cpus=0,
        concurrency=_READERS * workers,
        fn_kwargs={"files": files, "kinds": kinds},
    )
    scored = rows.map_batches(
        _Scorer,
        batch_size=_BATCH_TEXTS,
        concurrency=workers,
        num_cpus=threads,
        num_gpus=1 if gpu else 0,
        fn_constructor_args=(bundle.uri, threads),
    )
    draft = out.with_name(f".{out.name}.part")
    shutil.rmtree(draft, ignore_errors=True)  # output of an earlier, interrupted run
    try:
        scored.write_parquet(str(draft.absolute()), ray_remote_args={"num_cpus": 0}, **layout)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        raise TrainError(
            f"{out} was not written: {type(cause).__name__}: {str(cause).partition(chr(10))[0]}; see Ray's "
            "log for details"
        ) from error
    draft.rename(out)
    return texts


def _rows(file: str, source: _TextSource) -> Iterator[dict[str, Sequence[Any]]]:
    """Yield batches of a file's columns, without rows that have no text; with a label, only text and label.

    Raises:
        DataError: The file cannot be read, or has more rows without a text than allowed.
    """
    needed = (source.text, source.label) if source.label else (source.text,)
    wanted = () if source.label else column_names(file, source.layout, needed)
    bad, row = BadRows(file, source.skip_bad_rows), 0
    for columns in read_columns(file, needed, wanted, source.layout):
        kept = []
        for number, text in enumerate(columns[source.text]):
            if reason := text_fault(text):
                bad.add(row + number, source.text, reason)
            else:
                kept.append(number)
        rows = len(columns[source.text])
        row += rows
        # Objects of a JSON file may lack any key, and so may an entire batch of objects.
        whole = {name: columns.get(name, [None] * rows) for name in (*needed, *wanted)}
        yield {name: [values[number] for number in kept] for name, values in whole.items()}
    bad.finish()


def _read(
    batch: Mapping[str, Any], *, files: list[tuple[str, _TextSource]], kinds: Mapping[str, set[type]]
) -> Iterator[dict[str, Any]]:
    """Yield a file's rows: the columns of all files; for one of several sets, text, label and set."""
    file, source = files[int(batch["item"][0])]
    for columns in _rows(file, source):
        texts = columns[source.text]
        if not texts:
            continue
        if source.label is None:
            kept = {name: _storable(columns.get(name), kinds[name], len(texts)) for name in kinds}
        else:
            kept = {
                "text": np.array(texts),
                "label": np.array([str(value) for value in columns[source.label]]),
            }
            kept[SET] = np.full(len(texts), source.name)
        yield {_TEXT: np.asarray(texts), **kept}


def _storable(values: Sequence[Any] | None, kinds: set[type], rows: int) -> Any:
    """Return a column in the form that all files share: its only type, or else JSON text."""
    values = values or [None] * rows
    if len(kinds) > 1 or kinds & {list, dict}:
        values = [None if value is None else json.dumps(value, default=str) for value in values]
    return np.asarray(values, dtype=object)


class _Scorer:
    """Model of one process."""

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
    """Yield groups of indices with similar lengths, each within the padded budget or of one index."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    begin = 0
    while begin < len(order):
        count = max(1, budget_tokens // lengths[order[begin]])
        yield order[begin : begin + count]
        begin += count
