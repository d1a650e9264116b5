"""Tests of division by hashes: deterministic, independent of order, no held-out text in the training data."""

import random

import numpy as np

from train.datasets.dedup import text_key, word_keys
from train.datasets.examples import Example
from train.datasets.splits import HoldOut, divide, hold_out_sentences, keys_of, one_of_each


def test_spellings_of_one_text_share_a_key() -> None:
    assert text_key("Don't  STOP!") == text_key("do n't stop .") == "dontstop"
    assert "".join(word_keys("It 's -- fine .")) == text_key("It 's -- fine .")


def test_each_text_counts_once_and_contradictions_not_at_all() -> None:
    examples = [
        Example("Good film", 1),
        Example("good film !", 1),
        Example("odd", 0),
        Example("ODD", 1),
        Example("...", 0),
    ]

    [row] = one_of_each(keys_of(examples))

    assert row in (0, 1)
    [again] = one_of_each(keys_of(examples[::-1]))
    assert examples[::-1][again] == examples[row]
    assert len(one_of_each(keys_of([]))) == 0


def test_the_division_depends_on_the_texts_alone() -> None:
    examples = [Example(f"text number {i}", i % 2) for i in range(2000)]
    shuffled = random.Random(5).sample(examples, len(examples))

    def parts(of: list[Example]) -> tuple[list[Example], list[Example]]:
        found = divide({"a": keys_of(of)}, {"a": HoldOut(0.2)})["a"]
        return [of[row] for row in found.train], [of[row] for row in found.held_out]

    train, held_out = parts(examples)

    assert parts(shuffled) == (train, held_out)
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == len(examples)
    assert 0.17 < len(held_out) / len(examples) < 0.23


def test_nothing_held_out_anywhere_is_trained_on() -> None:
    one = [Example(f"Text {i}", i % 2) for i in range(200)]
    two = [Example(f"text {i} !", i % 2) for i in range(100, 300)]
    exam = [Example(f"TEXT {i}", 0) for i in range(0, 300, 10)]
    sets = {"one": keys_of(one), "two": keys_of(two)}

    parts = divide(sets, {"one": HoldOut(0.3), "two": HoldOut(held=keys_of(two[:20]).keys)}, [keys_of(exam)])

    trained = {one[row].text.casefold() for row in parts["one"].train}
    trained |= {two[row].text.removesuffix(" !") for row in parts["two"].train}
    held = {one[row].text.casefold() for row in parts["one"].held_out}
    assert [two[row] for row in sorted(parts["two"].held_out)] == two[:20]
    held |= {example.text.removesuffix(" !") for example in two[:20]}
    assert trained and held
    assert not trained & held
    assert not trained & {example.text.casefold() for example in exam}


def test_phrases_leave_with_their_held_out_sentence() -> None:
    sentences = [f"scene {i} of this film is number {i} and fun" for i in range(300)]
    phrases = [f"film is number {i}" for i in range(300)]
    texts = [*phrases, *sentences, "fun", "and fun"]
    examples = [Example(text, 1) for text in texts]

    parts = divide({"a": keys_of(examples)}, {"a": hold_out_sentences(texts, 0.25)})["a"]

    held = [texts[row] for row in parts.held_out]
    kept = {texts[row] for row in parts.train}
    assert 40 < len(held) < 110
    assert set(held) <= set(sentences)
    for sentence in held:
        assert sentence.removeprefix("scene ").split()[0] not in {phrase.split()[-1] for phrase in kept}
    assert len(kept) == 2 * (300 - len(held)) + 2
    assert {"fun", "and fun"} <= kept


def test_a_share_of_nothing_holds_nothing_out() -> None:
    examples = [Example(f"text {i}", 0) for i in range(50)]

    parts = divide({"a": keys_of(examples)}, {"a": HoldOut(0.0)})["a"]

    assert len(parts.held_out) == 0
    assert np.array_equal(np.sort(parts.train), np.arange(50))
