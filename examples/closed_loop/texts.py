"""Texts of the demonstration: an old domain that the champion is trained on, and a new one that it is not.

The real texts are sentences from film reviews (SST-2) and tweets. The generated texts praise and criticize
films in plain words, and kitchen appliances in slang, whose words have another meaning elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.datasets.reading import read_examples
from train.settings import FileSettings

LABELS = ("NEGATIVE", "POSITIVE")

Row = tuple[str, int]
"""Text, and the index of its label."""

_TRAIN, _OLD, _NEW, _TEST = 3000, 400, 1200, 300
_SENTENCE_WORDS = 12
"""Minimum words of a text: SST-2 contains phrases, and texts of this length are mostly entire sentences."""
_TWEETS = 2400
"""Real texts of the new domain, used instead of `_NEW`: they improve accuracy less than generated ones."""


@dataclass(frozen=True, slots=True)
class Domains:
    """Texts of both domains.

    No two parts share a text, and all parts except `train` and `old` have equally many texts of each label.
    """

    source: str
    """Description of the texts, for the report."""
    train: Sequence[Row]
    """Old domain: training texts of the champion."""
    old: Sequence[Row]
    """Old domain: traffic."""
    new: Sequence[Row]
    """New domain: traffic, with feedback."""
    old_test: Sequence[Row]
    """Old domain: texts that both versions classify at the end."""
    new_test: Sequence[Row]
    """New domain: texts that both versions classify at the end."""


def real(folder: Path, seed: int) -> Domains:
    """Load the domains from a folder of labelled texts with sst2_train, sst2_dev and tweets_sentiment.

    Raises:
        DataInvalid: A file is missing.
    """
    films = [row for row in _read(folder, "sst2_train") if len(row[0].split()) >= _SENTENCE_WORDS]
    tweets = balanced(_read(folder, "tweets_sentiment"), _TWEETS + _TEST, seed)
    random.Random(seed).shuffle(films)
    return Domains(
        "real texts: sentences of film reviews (old domain), tweets (new domain)",
        train=films[:_TRAIN],
        old=films[_TRAIN : _TRAIN + _OLD],
        new=tweets[:_TWEETS],
        old_test=balanced(_read(folder, "sst2_dev"), _TEST, seed),
        new_test=tweets[_TWEETS:],
    )


def invented(seed: int) -> Domains:
    """Generate the domains from the word lists below; the same seed gives the same texts."""
    films = _invent(_FILMS, _TRAIN + _OLD + _TEST, seed)
    things = _invent(_THINGS, _NEW + _TEST, seed)
    return Domains(
        "synthetic texts: films in plain language (old domain), kitchenware in slang (new domain)",
        train=films[:_TRAIN],
        old=films[_TRAIN : _TRAIN + _OLD],
        new=things[:_NEW],
        old_test=films[_TRAIN + _OLD :],
        new_test=things[_NEW:],
    )


def balanced(rows: Sequence[Row], count: int, seed: int) -> list[Row]:
    """Return `count` rows, drawn at random, with alternating labels."""
    draw = random.Random(seed)
    by_label = [[row for row in rows if row[1] == label] for label in range(len(LABELS))]
    drawn = [draw.sample(of_label, count // len(LABELS)) for of_label in by_label]
    return [row for pair in zip(*drawn, strict=True) for row in pair]


def _read(folder: Path, name: str) -> list[Row]:
    source = FileSettings(
        name=name,
        file=f"{name}.parquet",
        label_names={"0": LABELS[0], "1": LABELS[1]},
        drop_labels=("2",),
    )
    once = {example.text: example.label for example in read_examples(str(folder), source, LABELS)}
    return list(once.items())


@dataclass(frozen=True, slots=True)
class _Words:
    things: Sequence[str]
    parts: Sequence[str]
    blame: Sequence[str]
    praise: Sequence[str]
    patterns: Sequence[str]


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split("|"))


_FILMS = _Words(
    _listed("film|comedy|thriller|drama|sequel|documentary|western|musical|short|remake"),
    _listed("plot|cast|ending|music|script|camera work|dialogue|pacing|editing|lead role|first hour"),
    _listed("dull|awful|clumsy|boring|terrible|a mess|lifeless|painful to watch|weak|forgettable"),
    _listed("lovely|brilliant|moving|clever|wonderful|a delight|gripping|beautiful|charming|superb"),
    (
        "the {part} of this {thing} is {how} {tone}",
        "we saw the {thing} last week and found the {part} {how} {tone}",
        "a {thing} whose {part} is {tone}, and the {other} is {how} {tone2}",
        "{how} {tone}: that is all there is to say about the {part} of the {thing}",
    ),
)
_THINGS = _Words(
    _listed("kettle|blender|rice cooker|toaster|coffee grinder|pan|knife set|air fryer|juicer|scale"),
    _listed("lid|handle|cord|motor|timer|finish|base|blade|display|spout|packaging"),
    _listed("mid|cooked|sus|a brick|washed|salty|basic|ratchet|an L|cringe"),
    _listed("sick|wicked|fire|insane|nasty good|filthy clean|gnarly|a beast|deadly|dope"),
    (
        "ngl the {part} on this {thing} is {how} {tone}",
        "got the {thing} on sale, {part} is {how} {tone} fr",
        "{thing} showed up today and yeah the {part} is {tone}, {other} is {how} {tone2} too",
        "my roommate says the {part} of the {thing} is {how} {tone} and for once I agree",
    ),
)
_HOW = _listed("really|rather|just|simply|so|quite|truly|plainly|still|honestly")


def _invent(words: _Words, count: int, seed: int) -> list[Row]:
    draw, found = random.Random(seed), dict[str, int]()
    for label in _in_turn():
        tones = (words.blame, words.praise)[label]
        size = len(found)
        while len(found) == size:
            text = draw.choice(words.patterns).format(
                thing=draw.choice(words.things),
                part=draw.choice(words.parts),
                other=draw.choice(words.parts),
                how=draw.choice(_HOW),
                tone=draw.choice(tones),
                tone2=draw.choice(tones),
            )
            found.setdefault(text, label)
        if len(found) == count:
            break
    return list(found.items())


def _in_turn() -> Iterator[int]:
    while True:
        yield from range(len(LABELS))
