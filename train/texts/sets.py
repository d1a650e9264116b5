"""The sets of a run as its settings describe them: read, deduplicated, split, free of what is held out."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from train.errors import DataInvalid
from train.settings import DataSettings, FileSettings, FitSettings
from train.texts.examples import (
    Example,
    Split,
    deduplicate,
    keys_of,
    read_examples,
    split_by_sentence,
    split_by_text,
    text_key,
    without,
)


def read_splits(settings: FitSettings, data_dir: Path, columns: Sequence[str] = ()) -> dict[str, Split]:
    """The two parts of every set, by the set's name and in the settings' order.

    No text of any held-out part, nor of a test set, is in any training part.

    Raises:
        DataInvalid: A file is not what the settings say, or a set has nothing left to train on.
    """
    splits = {
        of_set.name: _split(read_set(of_set, settings.labels, data_dir, columns), of_set)
        for of_set in settings.data
    }
    forbidden = set().union(*(keys_of(split.held_out) for split in splits.values()))
    for source in settings.test:
        forbidden |= keys_of(read_set(source, settings.labels, data_dir))
    clean = {name: Split(without(split.train, forbidden), split.held_out) for name, split in splits.items()}
    for name, split in clean.items():
        if not split.train:
            raise DataInvalid(f"the set {name!r} has no text left to train on; lower its held_out")
    return clean


def read_set(
    source: FileSettings, labels: Sequence[str], data_dir: Path, columns: Sequence[str] = ()
) -> tuple[Example, ...]:
    """One set, each text once, with the values of further `columns`."""
    return deduplicate(
        read_examples(
            data_dir / source.file,
            text=source.text,
            label=source.label,
            label_index=source.index_of(labels),
            drop_labels=source.drop_labels,
            columns=columns,
        )
    )


def _split(examples: Sequence[Example], source: DataSettings) -> Split:
    split = split_by_sentence if source.split_by == "sentence" else split_by_text
    return split(examples, source.held_out)


def data_digest(splits: Mapping[str, Split]) -> str:
    """SHA-256 in hex of every text, label and part, in order: the same digest means the same data."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for part, examples in (("train", split.train), ("held_out", split.held_out)):
            for example in examples:
                digest.update(f"{name}\0{part}\0{example.label}\0{example.text}\0".encode())
    return digest.hexdigest()


def sample(examples: Sequence[Example], each_class: int) -> list[Example]:
    """The first texts of each class in the order of their keys' hashes: the same choice every time."""
    by_hash = sorted(
        examples, key=lambda example: hashlib.sha256(text_key(example.text).encode()).digest()[::-1]
    )
    taken: dict[int, list[Example]] = {}
    for example in by_hash:
        chosen = taken.setdefault(example.label, [])
        if len(chosen) < each_class:
            chosen.append(example)
    return [example for label in sorted(taken) for example in taken[label]]
