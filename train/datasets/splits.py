"""Sets of a run: in memory, each text once, split into training and held-out texts by hashes alone.

The functions on keys are pure and use arrays of 18 bytes per text, independent of its length, so that large
sets can be split. Their result depends on the texts, and not on the order in which they were read.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.datasets.dedup import NO_KEY, hash64, text_key, word_keys
from train.datasets.examples import Example, Split
from train.datasets.files import join, list_files
from train.datasets.reading import read_examples, read_file
from train.errors import DataError
from train.settings import FileSettings, FitSettings

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_SHORT_PHRASE_WORDS = 2


@dataclass(frozen=True, slots=True)
class SetKeys:
    """Hashes and labels of the rows of one set."""

    keys: Hashes
    """`hash64` of the text's key, which is the same for all spellings of a text."""
    exact: Hashes
    """`hash64` of the text itself."""
    labels: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class SplitRows:
    """Rows of one set, each part in ascending order of the keys."""

    train: Rows
    held_out: Rows


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Texts of a set that are held out, and further texts that are excluded from training."""

    fraction: float = 0.0
    """Share of all hashes below which the hash of a held-out text's key is."""
    held: Hashes | None = None
    """Hashes of the texts that are held out instead, if given."""
    barred: Hashes | None = None
    """Hashes of texts that are excluded from both parts, unless they are in `held`."""


def keys_of(examples: Sequence[Example]) -> SetKeys:
    """Return the hashes of examples, in their order."""
    return SetKeys(
        keys=np.array([hash64(text_key(example.text)) for example in examples], dtype=np.uint64),
        exact=np.array([hash64(example.text) for example in examples], dtype=np.uint64),
        labels=np.array([example.label for example in examples], dtype=np.int16),
    )


def one_of_each(of_set: SetKeys) -> Rows:
    """Return one row per text, without texts that have contradicting labels, or no letter or digit."""
    order = np.lexsort((of_set.exact, of_set.keys))
    if not len(order):
        return order
    keys, labels = of_set.keys[order], of_set.labels[order]
    begins = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    agree = np.minimum.reduceat(labels, begins) == np.maximum.reduceat(labels, begins)
    rows: Rows = order[begins[agree & (keys[begins] != np.uint64(NO_KEY))]]
    return rows


def divide(
    sets: Mapping[str, SetKeys], hold_out: Mapping[str, HoldOut], tests: Sequence[SetKeys] = ()
) -> dict[str, SplitRows]:
    """Return the parts of every set; training parts contain no text that is held out or tested in any set.

    Args:
        sets: Hashes of the sets by name.
        hold_out: Held-out texts of each set.
        tests: Names of the sets that are not trained on.
    """
    rows = {name: one_of_each(of_set) for name, of_set in sets.items()}
    held = {name: _is_held(sets[name].keys[rows[name]], hold_out[name]) for name in sets}
    forbidden = np.concatenate(
        [
            np.empty(0, dtype=np.uint64),
            *(sets[name].keys[rows[name]][held[name]] for name in sets),
            *(of_test.keys for of_test in tests),
        ]
    )
    parts = {}
    for name, of_set in sets.items():
        keys = of_set.keys[rows[name]]
        barred = hold_out[name].barred
        trained = ~np.isin(keys, forbidden)
        if barred is not None:
            trained &= ~np.isin(keys, barred)
        parts[name] = SplitRows(train=rows[name][trained], held_out=rows[name][held[name]])
    return parts


def _is_held(keys: Hashes, hold_out: HoldOut) -> npt.NDArray[np.bool_]:
    if hold_out.held is not None:
        return np.isin(keys, hold_out.held)
    below: npt.NDArray[np.bool_] = keys.astype(np.float64) / 2.0**64 < hold_out.fraction
    return below


def hold_out_sentences(texts: Sequence[str], fraction: float) -> HoldOut:
    """Hold out complete sentences of a set that also contains their phrases.

    A sentence is a text that is part of no other text. A phrase of more than two words that is part of a
    held-out sentence is excluded from both parts: it would leak the sentence into the training, and would be
    easier to classify.

    Args:
        texts: All texts of the set; unlike other splits, this one needs the texts.
        fraction: Share of the sentences that are held out.
    """
    words = [word_keys(text) for text in texts]
    phrases: set[str] = set()
    held: set[str] = set()
    held_phrases: set[str] = set()
    # Longest first, so that a phrase is always processed after the texts that contain it.
    for of_text in sorted(words, key=len, reverse=True):
        key = "".join(of_text)
        if key in phrases:
            continue
        runs = _word_runs(of_text)
        phrases |= runs
        if hash64(key) / 2**64 < fraction:
            held.add(key)
            held_phrases |= runs
    long = {"".join(of_text) for of_text in words if len(of_text) > _SHORT_PHRASE_WORDS}
    return HoldOut(held=_hashes(held), barred=_hashes(held_phrases & long))


def _hashes(keys: set[str]) -> Hashes:
    return np.array(sorted(hash64(key) for key in keys), dtype=np.uint64)


def _word_runs(words: Sequence[str]) -> set[str]:
    return {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def read_splits(settings: FitSettings, root: str, columns: Sequence[str] = ()) -> dict[str, Split]:
    """Return the two parts of every set, by the set's name and in the settings' order.

    No text of a held-out part or a test set is in any training part.

    Args:
        settings: Settings of the run.
        root: Folder or URI of the settings' files.
        columns: Further columns to keep with each text.

    Raises:
        DataError: A file does not match the settings, or a set has no text left to train on.
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
        DataError: As for `read_splits`.
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
) -> dict[str, SplitRows]:
    """Call `divide` with the held-out texts that the settings define for each set.

    Args:
        settings: Settings of the run.
        sets: Sets of `data` and `validation`, by name.
        tests: Sets of `test`.
        sentences: All texts of those sets that are split by sentence.

    Raises:
        DataError: A set has no text left to train on, or only texts with one label.
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
            raise DataError(f"the set {source.name!r} has no text left for training; lower its held_out")
    trained = {
        settings.labels[label]
        for source in settings.data
        for label in set(sets[source.name].labels[parts[source.name].train].tolist())
    }
    if len(trained) < 2:
        raise DataError(
            f"every training text has the label {trained.pop()!r}; expected texts of at least two labels"
        )
    return parts


def read_set(
    source: FileSettings, labels: Sequence[str], root: str, columns: Sequence[str] = ()
) -> tuple[Example, ...]:
    """Return one set, each text once, with the values of further `columns`."""
    examples = read_examples(root, source, labels, columns)
    return tuple(examples[row] for row in one_of_each(keys_of(examples)))


def data_digest(sets: Mapping[str, SetKeys], parts: Mapping[str, SplitRows]) -> str:
    """Return a hex SHA-256 of every text, label and part, independent of the order of the rows."""
    digest = hashlib.sha256()
    for name, of_set in parts.items():
        for part, rows in (("train", of_set.train), ("held_out", of_set.held_out)):
            digest.update(f"{name}\0{part}\0{len(rows)}\0".encode())
            digest.update(sets[name].exact[rows].astype("<u8").tobytes())
            digest.update(sets[name].labels[rows].astype("<i2").tobytes())
    return digest.hexdigest()
