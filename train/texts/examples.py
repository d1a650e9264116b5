"""Labelled texts: reading them, joining what is the same text, and holding a part out without leaks.

Everything but `read_examples` is a pure function. Two texts are the same text if they agree in letters and
digits, case apart (`text_key`); the held-out part is chosen by a hash of that key, whatever the order and the
seed.
"""

import hashlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train.errors import DataInvalid

_SHORT_PHRASE_WORDS = 2


@dataclass(frozen=True, slots=True)
class Example:
    """One text and the index of its label in the logits."""

    text: str
    label: int
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Values of further columns, by which figures may be sliced; those that were asked for and are there."""


@dataclass(frozen=True, slots=True)
class Split:
    """One set in two parts; no text of one part is in the other."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]


def read_examples(
    path: Path,
    *,
    text: str,
    label: str,
    label_index: Mapping[str, int],
    drop_labels: Collection[str] = (),
    columns: Sequence[str] = (),
) -> list[Example]:
    """Read one CSV, JSONL or Parquet file.

    Args:
        path: The file; its suffix says the format.
        text: Column of the text.
        label: Column of the label; compared as a string, so 1 and "1" are the same.
        label_index: Label value -> index of its logit.
        drop_labels: Label values whose rows are left out.
        columns: Further columns to keep; one that the file lacks is left out.

    Raises:
        DataInvalid: The file cannot be read, a column is missing, a text is empty, or a label is neither
            known nor dropped; the message names file, row and column.
    """
    frame = _read_frame(path)
    for column in (text, label):
        if column not in frame.columns:
            raise DataInvalid(f"{path} has no column {column!r}; it has {sorted(map(str, frame.columns))}")
    kept = {name: frame[name].astype(str) for name in columns if name in frame.columns}
    examples = []
    for row, (content, value) in enumerate(zip(frame[text], frame[label], strict=True)):
        name = str(value)
        if name in drop_labels:
            continue
        if name not in label_index:
            raise DataInvalid(
                f"{path} row {row} column {label!r}: label {name!r} is in neither label_names nor drop_labels"
            )
        if not isinstance(content, str) or not content.strip():
            raise DataInvalid(f"{path} row {row} column {text!r}: the text is empty; remove the row")
        further = {name: values.iloc[row] for name, values in kept.items()}
        examples.append(Example(content, label_index[name], further))
    return examples


def _read_frame(path: Path) -> Any:
    import pandas as pd

    readers = {
        ".csv": pd.read_csv,
        ".jsonl": lambda file: pd.read_json(file, lines=True),
        ".parquet": pd.read_parquet,
    }
    reader = readers.get(path.suffix)
    if reader is None:
        raise DataInvalid(f"{path}: the suffix must be one of {sorted(readers)}")
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise DataInvalid(f"{path} does not exist; check --data and the settings' `file`") from error
    except (OSError, ValueError) as error:
        raise DataInvalid(f"{path} cannot be read as {path.suffix[1:]}: {error}") from error


def text_key(text: str) -> str:
    """What two spellings of the same text share: NFKC, case folded, letters and digits only."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def word_keys(text: str) -> list[str]:
    """Keys of the words that have letters or digits, in order; joined they are `text_key`."""
    return [key for word in text.split() if (key := text_key(word))]


def deduplicate(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Keep the first of every text; leave out texts with contradicting labels, or with no letter or digit."""
    first: dict[str, Example] = {}
    conflicting = set()
    for example in examples:
        kept = first.setdefault(text_key(example.text), example)
        if kept.label != example.label:
            conflicting.add(text_key(example.text))
    return tuple(example for key, example in first.items() if key and key not in conflicting)


def hash_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: the first 8 bytes of its SHA-256."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def split_by_text(examples: Sequence[Example], held_out: float) -> Split:
    """Hold out each text whose hash falls below `held_out`."""
    train: list[Example] = []
    held: list[Example] = []
    for example in examples:
        (held if hash_fraction(text_key(example.text)) < held_out else train).append(example)
    return Split(tuple(train), tuple(held))


def split_by_sentence(examples: Sequence[Example], held_out: float) -> Split:
    """Hold out whole sentences of a set that also holds their phrases.

    A sentence is a text that is part of no other text. A phrase of more than two words that is part of a
    held-out sentence is in neither part: it would tell the model about the sentence, and would be easier.
    """
    words = [word_keys(example.text) for example in examples]
    # Longest first: whatever is a phrase has been seen inside something longer by then.
    order = sorted(range(len(examples)), key=lambda i: -len(words[i]))
    phrases: set[str] = set()
    held, held_phrases = set(), set[str]()
    for i in order:
        key = "".join(words[i])
        if key in phrases:
            continue
        runs = _word_runs(words[i])
        phrases |= runs
        if hash_fraction(key) < held_out:
            held.add(i)
            held_phrases |= runs
    train = tuple(
        example
        for i, example in enumerate(examples)
        if "".join(words[i]) not in held_phrases or (len(words[i]) <= _SHORT_PHRASE_WORDS and i not in held)
    )
    return Split(train, tuple(examples[i] for i in sorted(held)))


def _word_runs(words: Sequence[str]) -> set[str]:
    return {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def without(examples: Iterable[Example], keys: Collection[str]) -> tuple[Example, ...]:
    """Leave out every text whose key is among `keys`."""
    return tuple(example for example in examples if text_key(example.text) not in keys)


def keys_of(examples: Iterable[Example]) -> set[str]:
    """The keys of all texts."""
    return {text_key(example.text) for example in examples}
