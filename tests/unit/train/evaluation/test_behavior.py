"""Tests of the behavioural tests: their cases are well-formed, and each kind of failure is detected."""

import pytest

from train.evaluation.behavior import (
    BehaviourTest,
    Case,
    Polarity,
    Said,
    behaviour_tests,
    fails,
    polarity,
    swap_letters,
)

TESTS = {test.name: test for test in behaviour_tests()}
POLES = Polarity(negative=0, positive=1)


def said(label: int, positive: float) -> Said:
    return Said(label, positive)


@pytest.mark.parametrize(
    ("labels", "poles"),
    [
        (("NEGATIVE", "POSITIVE"), Polarity(0, 1)),
        (("positive", "neutral", "negative"), Polarity(2, 0)),
        (("pos", "neg"), Polarity(1, 0)),
        (("LABEL_0", "LABEL_1"), None),
        (("spam", "ham"), None),
        (("neg", "negative", "positive"), None),
    ],
)
def test_the_poles_are_known_by_name(labels: tuple[str, ...], poles: Polarity | None) -> None:
    assert polarity(labels) == poles


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS.keys())
def test_a_test_has_tens_of_cases_that_differ(test: BehaviourTest) -> None:
    assert len(test.cases) >= 30
    assert len({case.texts for case in test.cases}) == len(test.cases)
    for case in test.cases:
        assert not any("{" in text or "}" in text for text in case.texts)
        assert len(set(case.texts)) == len(case.texts)
        assert (case.expected is None) == (len(case.texts) > 1)


@pytest.mark.parametrize("name", ["plain", "change of mind"])
def test_both_poles_are_asked_for_alike(name: str) -> None:
    expected = [case.expected for case in TESTS[name].cases]
    assert expected.count("negative") == expected.count("positive")


def test_an_expected_label_that_is_not_answered_fails() -> None:
    test, case = TESTS["negated praise"], TESTS["negated praise"].cases[0]

    assert not fails(test, case, [said(0, 0.1)], POLES)
    assert fails(test, case, [said(1, 0.9)], POLES)


def test_another_label_for_another_name_fails() -> None:
    test, case = TESTS["names"], Case(("a", "b", "c"))

    assert not fails(test, case, [said(1, 0.9), said(1, 0.6), said(1, 0.8)], POLES)
    assert fails(test, case, [said(1, 0.9), said(1, 0.6), said(0, 0.4)], POLES)


def test_a_complaint_that_pleases_fails_and_noise_does_not() -> None:
    test, case = TESTS["added complaint"], TESTS["added complaint"].cases[0]

    assert fails(test, case, [said(0, 0.2), said(0, 0.3)], POLES)
    assert not fails(test, case, [said(0, 0.20), said(0, 0.24)], POLES)
    assert not fails(test, case, [said(1, 0.9), said(0, 0.1)], POLES)


def test_praise_that_displeases_fails() -> None:
    test, case = TESTS["added praise"], TESTS["added praise"].cases[0]

    assert fails(test, case, [said(1, 0.9), said(1, 0.8)], POLES)
    assert not fails(test, case, [said(0, 0.1), said(1, 0.9)], POLES)


def test_a_typo_swaps_two_neighbouring_letters_inside_a_word() -> None:
    for case in TESTS["typos"].cases:
        text, typo = case.texts
        places = [i for i, (a, b) in enumerate(zip(text, typo, strict=True)) if a != b]
        assert len(places) == 2
        assert places[1] == places[0] + 1
        assert (text[places[0]], text[places[1]]) == (typo[places[1]], typo[places[0]])
        assert text[places[0] - 1].isalpha() and text[places[1] + 1].isalpha()
    assert swap_letters("a wonderful day") == swap_letters("a wonderful day")
