"""Tests of figures and temperature against values calculated by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from train.evaluation.calibration import fit_temperature, negative_log_likelihood
from train.evaluation.metrics import as_json, as_table, figures

LABELS = ("NEGATIVE", "POSITIVE")


def test_figures_of_a_rare_class() -> None:
    found = figures([0, 0, 1, 1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1], LABELS)

    assert found.accuracy == pytest.approx(0.9)
    assert found.balanced_accuracy == pytest.approx(0.75)
    assert found.recall == pytest.approx({"NEGATIVE": 0.5, "POSITIVE": 1.0})
    assert found.class_texts == {"NEGATIVE": 2, "POSITIVE": 8}


def test_figures_of_three_classes_by_hand() -> None:
    found = figures([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], ("a", "b", "c"))

    assert found.confusion == {
        "a": {"a": 2, "b": 1, "c": 0},
        "b": {"a": 0, "b": 1, "c": 1},
        "c": {"a": 0, "b": 0, "c": 1},
    }
    assert found.precision == pytest.approx({"a": 1.0, "b": 0.5, "c": 0.5})
    assert found.recall == pytest.approx({"a": 2 / 3, "b": 0.5, "c": 1.0})
    # F1: a 2*2/(3+2) = 0.8, b 2*1/(2+2) = 0.5, c 2*1/(1+2) = 2/3
    assert found.macro_f1 == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1))
@pytest.mark.filterwarnings("ignore::UserWarning:sklearn")
def test_figures_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (list(column) for column in zip(*pairs, strict=True))

    found = figures(truth, predicted, ("a", "b", "c"))

    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, predicted))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))


def test_a_class_that_does_not_occur_has_no_recall() -> None:
    found = figures([1, 1], [1, 1], LABELS)

    assert found.recall == {"POSITIVE": 1.0}
    assert as_table({"a": found}, LABELS).splitlines()[-1] == "| a | 2 | 1.000 | 1.000 | - | 1.000 |"


def test_json_is_rounded_and_plain() -> None:
    found = as_json({"a": figures([0, 1, 1], [0, 1, 0], LABELS)})

    assert found["a"]["accuracy"] == 0.6667
    assert found["a"]["recall"] == {"NEGATIVE": 1.0, "POSITIVE": 0.5}


def test_likelihood_loss_of_a_coin() -> None:
    logits = np.zeros((3, 2), dtype=np.float32)

    assert negative_log_likelihood(logits, [0, 1, 1], 2.0) == pytest.approx(np.log(2))


def test_a_temperature_that_was_applied_is_found_again() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (4000, 2)).astype(np.float32)
    p = np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
    labels = (rng.random(4000) < p).astype(int).tolist()

    assert fit_temperature([logits * 3], [labels]) == pytest.approx(3.0, rel=0.1)
    assert fit_temperature([logits, logits], [labels, labels]) == pytest.approx(1.0, rel=0.1)
