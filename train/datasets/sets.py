"""Sets of a run according to its settings: in memory, each text once, split without leaks."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from train.datasets.examples import Example, Split
from train.datasets.files import join, list_files
from train.datasets.reading import read_examples, read_file
from train.datasets.splits import (
    HoldOut,
    Parts,
    SetKeys,
    divide,
    hold_out_sentences,
    keys_of,
    one_of_each,
)
from train.errors import DataInvalid
from train.settings import FileSettings, FitSettings


def read_splits(settings: FitSettings, root: str, columns: Sequence[str] = ()) -> dict[str, Split]:
    """Return the two parts of every set, by the set's name and in the settings' order.

    No text of a held-out part or a test set is in any training part.

    Args:
        settings: Settings of the run.
        root: Folder or URI of the settings' files.
        columns: Further columns to keep with each text.

    Raises:
        DataInvalid: A file does not match the settings, or a set has no text left to train on.
    """
    sources = [*settings.data, *settings.validation]
    examples = {source.name: read_examples(root, source, settings.labels, columns) for source in sources}
    sets = {name: keys_of(of_set) for name, of_set in examples.items()}
    tests = [keys_of(read_examples(root, source, settings.labels)) for source in settings.test]
    sentences = {
        source.name: [example.text for example in examples[source.name]]
        for source in settings.data
        if source.split_by == "sentence"
    }
    parts = divide_sets(settings, sets, tests, sentences)
    return {
        name: Split(
            train=tuple(examples[name][row] for row in of_set.train),
            held_out=tuple(examples[name][row] for row in of_set.held_out),
        )
        for name, of_set in parts.items()
    }


def training_labels(settings: FitSettings, root: str) -> dict[str, npt.NDArray[np.int16]]:
    """Return the training labels of each set of `data`; only hashes of texts are kept in memory.

    Args:
        settings: Settings of the run.
        root: Folder or URI of the settings' files.

    Raises:
        DataInvalid: As for `read_splits`.
    """

    def keys(source: FileSettings) -> SetKeys:
        files = list_files(join(root, source.file))
        batches = [keys_of(batch) for file in files for batch in read_file(file, source, settings.labels)]
        parts = zip(*((of.keys, of.exact, of.labels) for of in [keys_of([]), *batches]), strict=True)
        return SetKeys(*(np.concatenate(part) for part in parts))

    sets = {source.name: keys(source) for source in (*settings.data, *settings.validation)}
    sentences = {
        source.name: [example.text for example in read_examples(root, source, settings.labels)]
        for source in settings.data
        if source.split_by == "sentence"
    }
    parts = divide_sets(settings, sets, [keys(source) for source in settings.test], sentences)
    return {source.name: sets[source.name].labels[parts[source.name].train] for source in settings.data}


def divide_sets(
    settings: FitSettings,
    sets: Mapping[str, SetKeys],
    tests: Sequence[SetKeys],
    sentences: Mapping[str, Sequence[str]],
) -> dict[str, Parts]:
    """Call `divide` with the held-out texts that the settings define for each set.

    Args:
        settings: Settings of the run.
        sets: Sets of `data` and `validation`, by name.
        tests: Sets of `test`.
        sentences: All texts of those sets that are split by sentence.

    Raises:
        DataInvalid: A set has no text left to train on, or only texts with one label.
    """
    hold_out = {source.name: HoldOut(held=sets[source.name].keys) for source in settings.validation}
    for source in settings.data:
        hold_out[source.name] = (
            hold_out_sentences(sentences[source.name], source.held_out)
            if source.split_by == "sentence"
            else HoldOut(source.held_out)
        )
    parts = divide(sets, hold_out, tests)
    for source in settings.data:
        if not len(parts[source.name].train):
            raise DataInvalid(f"the set {source.name!r} has no text left to train on; lower its held_out")
    trained = {
        settings.labels[label]
        for source in settings.data
        for label in set(sets[source.name].labels[parts[source.name].train].tolist())
    }
    if len(trained) < 2:
        raise DataInvalid(
            f"every text to train on has the label {trained.pop()!r}; give texts of at least two labels"
        )
    return parts


def read_set(
    source: FileSettings, labels: Sequence[str], root: str, columns: Sequence[str] = ()
) -> tuple[Example, ...]:
    """Return one set, each text once, with the values of further `columns`."""
    examples = read_examples(root, source, labels, columns)
    return tuple(examples[row] for row in one_of_each(keys_of(examples)))


def data_digest(sets: Mapping[str, SetKeys], parts: Mapping[str, Parts]) -> str:
    """Return a hex SHA-256 of every text, label and part, independent of the order of the rows."""
    digest = hashlib.sha256()
    for name, of_set in parts.items():
        for part, rows in (("train", of_set.train), ("held_out", of_set.held_out)):
            digest.update(f"{name}\0{part}\0{len(rows)}\0".encode())
            digest.update(sets[name].exact[rows].astype("<u8").tobytes())
            digest.update(sets[name].labels[rows].astype("<i2").tobytes())
    return digest.hexdigest()
