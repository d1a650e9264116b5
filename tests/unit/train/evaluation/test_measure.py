"""Tests of an entire evaluation: turns, figures, slices, averages, and errors."""

import pytest

from tests.unit.train.evaluation.synthetic import LABELS, FakeModel, evaluated, texts
from train.datasets.examples import Example
from train.errors import DataError
from train.evaluation.measure import behave, measure
from train.evaluation.results import Evaluation, to_json


def test_models_take_turns_on_the_same_batches() -> None:
    order: list[str] = []

    class Noted(FakeModel):
        def answer(self, batch):  # type: ignore[no-untyped-def]
            order.append(self.card.name)
            return super().answer(batch)

    first, second = Noted("a"), Noted("b")
    measure(first, second, {"even": texts("even", 100, seed=1)})

    # Each model warms up on one batch. Four batches follow, and the model that begins alternates.
    assert order[:10] == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert first.asked == second.asked


def test_scores_stay_with_their_texts() -> None:
    found = evaluated(FakeModel(confused=["rare"]), FakeModel())
    by_name = {of_set.name: of_set for of_set in found.sets}

    assert by_name["even"].candidate == by_name["even"].against
    assert by_name["rare"].candidate.figures.accuracy == pytest.approx(
        1 - by_name["rare"].against.figures.accuracy  # type: ignore[union-attr]
    )
    assert by_name["rare"].difference is not None
    assert by_name["rare"].difference.mcnemar_p < 1e-9
    assert by_name["even"].difference is not None
    assert by_name["even"].difference.mcnemar_p == 1.0


def test_an_average_counts_every_set_alike() -> None:
    found = evaluated(FakeModel(noise=2.0), FakeModel())
    sets = found.sets

    assert found.average.candidate.balanced_accuracy == pytest.approx(
        sum(of_set.candidate.figures.balanced_accuracy for of_set in sets) / 2
    )
    assert found.average.difference is not None
    estimates = [of_set.difference.balanced_accuracy.estimate for of_set in sets if of_set.difference]
    assert found.average.difference.balanced_accuracy.estimate == pytest.approx(sum(estimates) / 2)
    assert found.average.candidate.balanced_accuracy - found.average.against.balanced_accuracy == (  # type: ignore[union-attr]
        pytest.approx(found.average.difference.balanced_accuracy.estimate)
    )


def test_slices_have_their_own_figures() -> None:
    examples = texts("shop", 400, seed=3, department=["Tops", "Shoes"])
    shoes = [e.text for e in examples if e.columns["department"] == "Shoes"]

    found = evaluated(FakeModel(confused=shoes), FakeModel(), {"shop": examples}, ["department"])
    by_value = {part.value: part for part in found.slices}

    assert {value: part.texts for value, part in by_value.items()} == {"Tops": 200, "Shoes": 200}
    assert by_value["Tops"].candidate == by_value["Tops"].against
    assert by_value["Shoes"].difference is not None
    assert by_value["Shoes"].difference.balanced_accuracy.high < -0.5


def test_the_ratio_of_speeds_is_of_the_same_batches() -> None:
    found = evaluated(FakeModel(batch_s=0.5), FakeModel(batch_s=1.0)).speed

    assert found.ratio == pytest.approx(2.0)
    assert found.against is not None
    assert found.candidate.texts_per_s == pytest.approx(2 * found.against.texts_per_s)
    assert found.candidate.texts == 2100
    assert found.candidate.tokens == 3 * 2100


def test_without_another_there_is_no_difference() -> None:
    found = evaluated(FakeModel())

    assert found.against is None
    assert found.average.difference is None
    assert found.speed.ratio is None
    assert all(of_set.difference is None for of_set in found.sets)
    assert all(test.against is None for test in found.behaviour.tests)


def test_behaviour_is_counted_and_shown() -> None:
    found = behave(FakeModel(reads_words=False), FakeModel())
    by_name = {test.name: test for test in found.tests}

    plain = by_name["plain"]
    assert (plain.candidate.failed, plain.cases) == (56, 112)
    assert plain.candidate.examples[0] == "The cream is bad. [POSITIVE, positive 0.99]"
    assert plain.against is not None
    assert plain.against.failed == 0
    assert by_name["negated praise"].candidate.rate == 1.0
    assert by_name["names"].candidate.failed == 0


def test_behaviour_is_skipped_where_labels_are_no_polarity() -> None:
    found = behave(FakeModel(labels=("spam", "ham")), None)

    assert found.tests == ()
    assert found.skipped == "the labels are spam, ham; expected NEGATIVE and POSITIVE"


def test_the_file_is_read_as_it_was_written() -> None:
    written = to_json(evaluated(FakeModel(noise=1.0), FakeModel()))

    read = Evaluation.model_validate_json(written)

    assert to_json(read) == written
    assert read.created_at == "2026-01-02T03:04:05+00:00"
    assert read.labels == LABELS


def test_a_run_is_repeatable() -> None:
    assert evaluated(FakeModel(noise=1.0), FakeModel()) == evaluated(FakeModel(noise=1.0), FakeModel())


@pytest.mark.parametrize(
    ("sets", "message"), [({}, "no set to evaluate"), ({"void": []}, "'void' has no text")]
)
def test_nothing_to_measure_on_is_an_error(sets: dict[str, list[Example]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure(FakeModel(), None, sets)


def test_progress_is_told_now_and_then() -> None:
    told: list[str] = []
    ticks = iter(range(0, 1000, 6))
    measure(
        FakeModel(),
        None,
        {"even": texts("even", 160, seed=1)},
        on_progress=told.append,
        clock=lambda: float(next(ticks)),
    )

    assert told == [
        "even: 64 of 160 texts",
        "even: 128 of 160 texts",
        "even: all 160 texts",
        "behavioural tests",
    ]
