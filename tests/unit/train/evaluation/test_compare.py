"""Tests of comparisons: values calculated by hand, and the bootstrap's interval on simulated data."""

import numpy as np
import pytest

from train.evaluation.compare import (
    balanced_accuracy_interval,
    bootstrap,
    holm,
    interval,
    mcnemar_p,
    p_not_worse,
    paired_counts,
    wilson,
)


def test_counts_are_by_class_and_outcome() -> None:
    truth = [0, 0, 0, 1, 1, 1]
    candidate = [0, 0, 1, 1, 0, 0]
    against = [0, 1, 0, 1, 1, 0]

    # Order in class 0: both right, only candidate, only champion. In class 1: both, only champion, neither.
    assert paired_counts(truth, candidate, against, 2).tolist() == [[1, 1, 1, 0], [1, 0, 1, 1]]


def test_the_measured_differences_by_hand() -> None:
    counts = np.array([[5, 3, 1, 1], [80, 0, 5, 5]])

    found = bootstrap([counts], resamples=10)

    assert found.measured_accuracy == pytest.approx((3 - 6) / 100)
    assert found.measured_balanced_accuracy == pytest.approx((2 / 10 - 5 / 90) / 2)


def test_sets_count_alike_whatever_their_size() -> None:
    small, large = np.array([[5, 5, 0, 0]]), np.array([[0, 0, 100, 900]])

    found = bootstrap([small, large], resamples=10)

    assert found.measured_accuracy == pytest.approx((0.5 - 0.1) / 2)
    assert found.accuracy.shape == (10,)


def test_drawing_counts_is_drawing_texts() -> None:
    """The multinomial shortcut has the distribution of the plain bootstrap, which resamples single texts."""
    rng = np.random.default_rng(1)
    truth = np.array([0] * 30 + [1] * 70)
    candidate = np.where(rng.random(100) < 0.8, truth, 1 - truth)
    against = np.where(rng.random(100) < 0.7, truth, 1 - truth)

    def by_text(places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
        recalls = [
            [np.mean(said[places][truth[places] == label] == label) for label in (0, 1)]
            for said in (candidate, against)
        ]
        return float(np.mean(recalls[0]) - np.mean(recalls[1]))

    drawn = np.array([by_text(rng.integers(0, 100, 100)) for _ in range(4000)])
    fast = bootstrap([paired_counts(truth, candidate, against, 2)], resamples=40_000).balanced_accuracy

    assert fast.mean() == pytest.approx(drawn.mean(), abs=0.005)
    assert fast.std() == pytest.approx(drawn.std(), rel=0.06)
    assert np.quantile(fast, [0.025, 0.975]) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """The candidate is better by 5 points on one class and worse by 2 on the other: 1.5 points balanced."""
    rng = np.random.default_rng(5)
    class_0, class_1 = [0.70, 0.10, 0.05, 0.15], [0.80, 0.04, 0.06, 0.10]
    truth, trials, covered = (0.05 - 0.02) / 2, 600, 0
    for trial in range(trials):
        counts = np.stack([rng.multinomial(150, class_0), rng.multinomial(250, class_1)])
        drawn = bootstrap([counts], resamples=1000, seed=trial)
        found = interval(drawn.measured_balanced_accuracy, drawn.balanced_accuracy, 0.95)
        covered += found.low <= truth <= found.high

    # Three standard errors of a share of 600 trials are 2.7 points.
    assert covered / trials == pytest.approx(0.95, abs=0.03)


def test_an_equal_candidate_is_called_worse_as_seldom_as_agreed() -> None:
    rng = np.random.default_rng(9)
    called = 0
    for trial in range(600):
        counts = np.stack([rng.multinomial(200, [0.8, 0.06, 0.06, 0.08]) for _ in range(2)])
        called += p_not_worse(counts, 0.0, resamples=1000, seed=trial) <= 0.05

    assert called / 600 < 0.08


def test_one_seed_gives_one_result() -> None:
    counts = [np.array([[10, 3, 4, 5]])]

    assert np.array_equal(bootstrap(counts, seed=3).accuracy, bootstrap(counts, seed=3).accuracy)
    assert not np.array_equal(bootstrap(counts, seed=3).accuracy, bootstrap(counts, seed=4).accuracy)


def test_a_class_that_a_resample_lost_is_left_out() -> None:
    drawn = bootstrap([np.array([[0, 1, 0, 0], [500, 0, 0, 0]])], resamples=500)

    assert np.isfinite(drawn.balanced_accuracy).all()
    assert set(drawn.balanced_accuracy) == {0.0, 0.5}


@pytest.mark.parametrize(
    ("only_candidate", "only_against", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 2 / 32),
        (1, 9, 2 * (1 + 10) / 1024),
        (3, 3, 1.0),
    ],
)
def test_mcnemar_by_hand(only_candidate: int, only_against: int, p: float) -> None:
    assert mcnemar_p(np.array([[50, only_candidate, only_against, 3]])) == pytest.approx(p)


def test_mcnemar_of_very_many_texts_is_finite() -> None:
    assert 0 < mcnemar_p(np.array([[0, 3000, 3100, 0]])) < 1


def test_holm_by_hand() -> None:
    # Sorted .01 .03 .04 x 3 2 1 = .03 .06 .04; a value is never below the previous one: .03 .06 .06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_p_of_one_class_is_half_of_mcnemars() -> None:
    counts = np.array([[50, 1, 9, 3]])

    assert p_not_worse(counts, 0.0, resamples=200_000) == pytest.approx(11 / 1024, rel=0.1)


def test_p_is_never_zero_and_one_where_nothing_is_worse() -> None:
    assert p_not_worse(np.array([[0, 0, 500, 0]]), 0.0, resamples=99) == pytest.approx(0.01)
    assert p_not_worse(np.array([[500, 0, 0, 0], [0, 0, 0, 0]]), 0.0, resamples=99) == 1.0


def test_a_loss_within_the_margin_is_none() -> None:
    counts = np.array([[900, 0, 20, 80]])

    assert p_not_worse(counts, 0.0) < 0.001
    assert p_not_worse(counts, 0.02) > 0.4


def test_wilson() -> None:
    found = wilson(8, 10)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.8, 0.49016, 0.94331), abs=1e-5)


@pytest.mark.parametrize("recalls", [(0.9, 0.9), (0.97, 0.6), (1.0, 0.99)])
@pytest.mark.parametrize("texts", [(25, 25), (200, 20), (500, 500)])
def test_the_interval_of_a_balanced_accuracy_holds_the_truth_as_often_as_it_says(
    texts: tuple[int, int], recalls: tuple[float, float]
) -> None:
    rng = np.random.default_rng(5)
    truth, runs, covered = sum(recalls) / 2, 200, 0
    for seed in range(runs):
        found = balanced_accuracy_interval(rng.binomial(texts, recalls), np.array(texts), seed=seed)
        assert 0 <= found.low <= found.high <= 1
        covered += found.low <= truth <= found.high
    assert covered / runs >= 0.91  # expected 0.95; two standard errors of 200 runs are 0.031


def test_the_interval_of_a_balanced_accuracy_leaves_out_a_class_without_texts() -> None:
    found = balanced_accuracy_interval(np.array([45, 0]), np.array([50, 0]), seed=1)
    assert found.estimate == 0.9 and found.low > 0.7
