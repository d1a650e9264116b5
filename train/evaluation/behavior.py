"""Behavioural tests that any polarity model must pass, independent of its training data.

The kinds are those of Ribeiro et al. 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList,
arXiv:2005.04118: minimum functionality, invariance, direction. Templates and words are this project's own;
they describe things, places and people in general, so that they suit products as well as films.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import Literal

Kind = Literal["minimum", "negation", "invariance", "direction"]
Pole = Literal["negative", "positive"]

RISE_TOLERANCE = 0.05
"""Minimum change of a score in the wrong direction for a directional case to fail. Smaller changes are noise
where the scores are saturated near 0.99."""

_NAMES = (
    {"negative", "neg"},
    {"positive", "pos"},
)
_THINGS = ("cream", "film", "phone", "hotel", "book", "dress", "soup", "lamp")
_GOOD = ("good", "great", "lovely", "excellent", "wonderful", "beautiful")
_BAD = ("bad", "awful", "terrible", "horrible", "dreadful", "disappointing")
_PEOPLE = ("Anna", "Mohammed", "Wei", "Priya", "John", "Olga", "Kwame", "Lucía", "Yuki", "Fatima")
_PLACES = ("Berlin", "Lagos", "Texas", "Mumbai", "Paris", "Beirut", "Seoul", "Lima", "Cairo", "Ohio")
_COMPLAINT = " It broke after one day and I want my money back."
_PRAISE = " I love it and would buy it again at once."


@dataclass(frozen=True, slots=True)
class Polarity:
    """Columns of the scores of the negative and the positive label."""

    negative: int
    positive: int


@dataclass(frozen=True, slots=True)
class Case:
    """One text with its expected label, or several texts, of which each is compared with the first."""

    texts: tuple[str, ...]
    expected: Pole | None = None


@dataclass(frozen=True, slots=True)
class BehaviourTest:
    """Claim about a model, with the cases that test it."""

    name: str
    kind: Kind
    claim: str
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """Prediction of a model for one text."""

    label: int
    positive: float
    """Score of the positive label."""


def polarity(labels: Sequence[str]) -> Polarity | None:
    """Return the two poles by name, ignoring case and labels between them; None if there are no two poles."""
    names = [label.casefold() for label in labels]
    places = [[i for i, name in enumerate(names) if name in pole] for pole in _NAMES]
    if any(len(found) != 1 for found in places):
        return None
    return Polarity(places[0][0], places[1][0])


def behaviour_tests() -> tuple[BehaviourTest, ...]:
    """Return all tests, which are the same in every call."""
    return (
        BehaviourTest(
            "plain",
            "minimum",
            "A simple statement gets the label of its word.",
            (*_plain("negative", _BAD, "hate"), *_plain("positive", _GOOD, "love")),
        ),
        BehaviourTest(
            "change of mind",
            "minimum",
            "The present opinion decides the label, not the earlier one.",
            tuple(_changes_of_mind()),
        ),
        BehaviourTest(
            "negated praise",
            "negation",
            "Negated praise is negative.",
            tuple(
                Case((text.format(thing=thing, good=good),), "negative")
                for text, thing, good in product(
                    ("The {thing} is not {good}.", "I don't think this {thing} is {good} at all."),
                    _THINGS,
                    _GOOD[:4],
                )
            ),
        ),
        BehaviourTest(
            "negated blame",
            "negation",
            "Negated criticism is not negative.",
            tuple(
                Case((text.format(thing=thing, bad=bad),), "positive")
                for text, thing, bad in product(
                    ("The {thing} is not {bad} at all.", "There is nothing {bad} about this {thing}."),
                    _THINGS,
                    _BAD[:4],
                )
            ),
        ),
        BehaviourTest(
            "names",
            "invariance",
            "The name of a person does not change the label.",
            tuple(
                Case(tuple(text.format(person=person) for person in _PEOPLE))
                for text in _sentences("{{person}} told me that the {thing} is {word}.")
            ),
        ),
        BehaviourTest(
            "places",
            "invariance",
            "The name of a place does not change the label.",
            tuple(
                Case(tuple(text.format(place=place) for place in _PLACES))
                for text in _sentences("We bought the {thing} in {{place}}, and it is {word}.")
            ),
        ),
        BehaviourTest(
            "typos",
            "invariance",
            "One transposed pair of letters does not change the label.",
            tuple(
                Case((text, swap_letters(text)))
                for text in _sentences("This {thing} arrived yesterday and everybody here finds it {word}.")
            ),
        ),
        BehaviourTest(
            "added complaint",
            "direction",
            "A complaint added at the end does not raise the positive score.",
            tuple(Case((text, text + _COMPLAINT)) for text in _sentences("The {thing} is {word}.")),
        ),
        BehaviourTest(
            "added praise",
            "direction",
            "Praise added at the end does not lower the positive score.",
            tuple(Case((text, text + _PRAISE)) for text in _sentences("The {thing} is {word}.")),
        ),
    )


def fails(test: BehaviourTest, case: Case, said: Sequence[Said], poles: Polarity) -> bool:
    """Return whether a case fails.

    Args:
        test: Test of the case.
        case: The case.
        said: Predictions for the case's texts, in their order.
        poles: Columns of the poles.
    """
    if case.expected is not None:
        return said[0].label != (poles.negative if case.expected == "negative" else poles.positive)
    if test.kind == "invariance":
        return any(other.label != said[0].label for other in said[1:])
    rise = said[1].positive - said[0].positive
    return (rise if case.texts[1].endswith(_COMPLAINT) else -rise) > RISE_TOLERANCE


def swap_letters(text: str) -> str:
    """Swap two adjacent letters within one word of five letters or more, selected by a hash of the text.

    The first and the last letter of a word are unchanged, so that the word stays readable.
    """
    words = text.split(" ")
    choices = [
        (place, inner)
        for place, word in enumerate(words)
        if len(word) >= 5 and word.isalpha()
        for inner in range(1, len(word) - 2)
        if word[inner] != word[inner + 1]
    ]
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    place, inner = choices[digest % len(choices)]
    word = words[place]
    words[place] = word[:inner] + word[inner + 1] + word[inner] + word[inner + 2 :]
    return " ".join(words)


def _plain(expected: Pole, words: Sequence[str], verb: str) -> list[Case]:
    judged = [f"The {thing} is {word}." for thing, word in product(_THINGS, words)]
    return [Case((text,), expected) for text in (*judged, *(f"I {verb} this {thing}." for thing in _THINGS))]


def _changes_of_mind() -> Iterator[Case]:
    """Yield sixteen cases per pole: two of each noun, with different pairs of words."""
    words = zip(cycle(_GOOD), cycle(reversed(_BAD)), strict=False)
    for thing, (good, bad) in zip(_THINGS * 2, islice(words, 2 * len(_THINGS)), strict=True):
        yield Case((f"I used to think this {thing} was {bad}, but now I find it {good}.",), "positive")
        yield Case((f"I used to think this {thing} was {good}, but now I find it {bad}.",), "negative")


def _sentences(template: str) -> list[str]:
    """Return a template filled with every noun and a few words of either pole."""
    words = (*_GOOD[:3], *_BAD[:3])
    return [template.format(thing=thing, word=word) for thing, word in product(_THINGS, words)]
