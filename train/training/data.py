"""Data preparation for a run: reads and tokenises through Ray Data, splits, and writes to disk.

Texts stream from their files through tokenising tasks into `train.datasets.tokenized` tables; a task or this
process holds at most a few thousand of them, so the data may be larger than memory.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from train.base_model import find_base, load_tokenizer
from train.datasets.dedup import word_keys
from train.datasets.examples import Example
from train.datasets.files import copy_to, is_remote, join, list_files, open_filesystem
from train.datasets.reading import read_examples, read_file
from train.datasets.splits import SetKeys, data_digest, divide_sets, keys_of
from train.datasets.tokenized import TokenTable, TokenWriter, open_table, write_parts
from train.errors import DataError, TrainError
from train.ray_session import quiet_data
from train.settings import SCORE_PREFIX, FileSettings, FitSettings

_BLOCK_BYTES = 16 * 1024**2
_DIGEST = "data.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Data of a run on the local disk."""

    tables: dict[str, TokenTable]
    """Tables by the set's name: those of `data`, then those of `validation`."""
    digest: str

    @property
    def texts(self) -> dict[str, dict[str, int]]:
        """Return the number of texts of each part of each set."""
        return {
            name: {"train": len(table.parts.train), "held_out": len(table.parts.held_out)}
            for name, table in self.tables.items()
        }


def prepare(settings: FitSettings, root: str, folder: Path) -> Prepared:
    """Read, tokenise and split every set of the settings. Ray must be running.

    Args:
        settings: Settings of the run.
        root: Folder or URI of the settings' files.
        folder: Output folder of the tables; its contents are replaced.

    Raises:
        DataError: A file does not match the settings; the message names file, row and column.
    """
    shutil.rmtree(folder, ignore_errors=True)
    sources = [*settings.data, *settings.validation]
    files = [
        {"source": index, "file": file}
        for index, source in enumerate([*sources, *settings.test])
        for file in list_files(join(root, source.file))
    ]
    writers = [TokenWriter(folder / source.name) for source in sources]
    tests: list[list[SetKeys]] = [[] for _ in settings.test]
    for batch in _stream(settings, files):
        index = int(batch["source"][0].as_py())
        keys = SetKeys(
            batch["key"].to_numpy(), batch["exact"].to_numpy(), batch["label"].to_numpy().astype(np.int16)
        )
        if index >= len(sources):
            tests[index - len(sources)].append(keys)
            continue
        ids = batch["ids"].combine_chunks()
        lengths = np.diff(ids.offsets.to_numpy()).astype(np.int32)
        teacher = np.array(batch["teacher"].to_pylist(), dtype=np.float16).reshape(len(lengths), -1)
        writers[index].add(ids.flatten().to_numpy(), lengths, batch["words"].to_numpy(), keys, teacher)
    sets = {source.name: writer.finish() for source, writer in zip(sources, writers, strict=True)}
    sentences = {
        source.name: [example.text for example in read_examples(root, source, settings.labels)]
        for source in settings.data
        if source.split_by == "sentence"
    }
    parts = divide_sets(settings, sets, [keys for of_test in tests for keys in of_test], sentences)
    for name, of_set in parts.items():
        write_parts(folder / name, of_set)
    digest = data_digest(sets, parts)
    (folder / _DIGEST).write_text(json.dumps({"digest": digest, "sets": list(sets)}), encoding="utf-8")
    return open_prepared(folder)


def open_prepared(folder: Path) -> Prepared:
    """Open the output of `prepare`."""
    found = json.loads((folder / _DIGEST).read_text(encoding="utf-8"))
    return Prepared({name: open_table(folder / name) for name in found["sets"]}, found["digest"])


def _stream(settings: FitSettings, files: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield Arrow tables of tokenised rows, each of one source, in any order."""
    import ray.data

    quiet_data()
    ray.data.DataContext.get_current().target_max_block_size = _BLOCK_BYTES
    dataset = ray.data.from_items(files, override_num_blocks=min(len(files), 200)).map_batches(
        _tokenised,
        batch_size=1,
        fn_kwargs={
            "base": settings.base,
            "labels": settings.labels,
            "sources": [
                source.model_dump() for source in (*settings.data, *settings.validation, *settings.test)
            ],
            "keys_only_from": len(settings.data) + len(settings.validation),
        },
    )
    for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        if failures := [failure for failure in table["failure"].to_pylist() if failure]:
            raise DataError(failures[0])
        sources = table["source"].to_numpy()
        for source in np.unique(sources):
            yield table.filter(sources == source)


def _tokenised(
    batch: Mapping[str, Any],
    *,
    base: str,
    labels: tuple[str, ...],
    sources: list[dict[str, Any]],
    keys_only_from: int,
) -> Iterator[Any]:
    """Yield tables of the tokenised rows of one file; an error in it becomes a row with the message."""
    index, file = int(batch["source"][0]), str(batch["file"][0])
    fields = {name: sources[index][name] for name in FileSettings.model_fields}
    try:
        columns = (
            [f"{SCORE_PREFIX}{label}" for label in labels] if sources[index].get("teacher_weight") else []
        )
        for examples in read_file(file, FileSettings.model_validate(fields), labels, columns):
            texts = [example.text for example in examples]
            ids = [[] for _ in texts] if index >= keys_only_from else _tokenise(base, texts)
            if index < keys_only_from and (empty := sum(not of_text for of_text in ids)):
                raise DataError(
                    f"{file}: the tokenizer of {base} returns no tokens for {empty} of the texts (characters "
                    "that it does not know); remove these rows, or choose another --base"
                )
            words = [len(word_keys(text)) for text in texts]
            yield _table(index, keys_of(examples), ids, words, _teacher(file, examples, columns))
    except TrainError as error:
        yield _table(index, keys_of([Example("", 0)]), [[]], [0], [[]], failure=str(error))


def _teacher(file: str, examples: list[Example], columns: list[str]) -> list[list[float]]:
    """Return the teacher's scores of each text, one per label; empty if no columns are requested."""
    try:
        return [[float(example.columns[name]) for name in columns] for example in examples]
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{file} has no number in the column {error}; write it with `python -m train score`, or set "
            "teacher_weight to 0"
        ) from error


def _tokenise(base: str, texts: list[str]) -> list[list[int]]:
    return [encoding.ids for encoding in _tokenizer(base).encode_batch(texts)]


@lru_cache(maxsize=1)
def _tokenizer(base: str) -> Any:
    return load_tokenizer(find_base(base)).backend_tokenizer


def _table(
    index: int,
    keys: SetKeys,
    ids: list[list[int]],
    words: list[int],
    teacher: list[list[float]],
    failure: str = "",
) -> Any:
    import pyarrow as pa

    rows = len(ids)
    return pa.table(
        {
            "source": pa.array(np.full(rows, index, dtype=np.int32)),
            "ids": pa.array(ids, type=pa.list_(pa.int32())),
            "words": pa.array(words, type=pa.int32()),
            "teacher": pa.array(teacher, type=pa.list_(pa.float32())),
            "label": pa.array(keys.labels),
            "key": pa.array(keys.keys),
            "exact": pa.array(keys.exact),
            "failure": pa.array([failure] * rows, type=pa.string()),
        }
    )


def share(prepared: Path, storage: str) -> str:
    """Copy prepared data to the store of the run's checkpoints, if it is a store; return the new location."""
    if not is_remote(storage):
        return str(prepared.resolve())
    digest = open_prepared(prepared).digest
    address = f"{storage.rstrip('/')}/prepared-{digest[:16]}"
    copy_to(prepared, address)
    return address


def local_copy(address: str) -> Prepared:
    """Return prepared data of a location from `share`, on this machine's disk."""
    from pyarrow.fs import LocalFileSystem, copy_files

    if not is_remote(address):
        return open_prepared(Path(address))
    folder = Path(tempfile.gettempdir()) / f"fit-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            system, path = open_filesystem(address)
            draft = Path(f"{folder}.part")
            draft.mkdir(exist_ok=True)
            copy_files(path, str(draft), source_filesystem=system, destination_filesystem=LocalFileSystem())
            draft.replace(folder)
    return open_prepared(folder)
