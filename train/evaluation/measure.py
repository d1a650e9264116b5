"""Evaluation of one model, alone or against another, on labelled sets, slices and behavioural tests."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from train.datasets.examples import Example
from train.errors import DataError
from train.evaluation.behavior import BehaviourTest, Case, Polarity, Said, behaviour_tests, fails, polarity
from train.evaluation.calibration import calibration
from train.evaluation.compare import (
    RESAMPLES,
    Counts,
    balanced_accuracy_interval,
    bootstrap,
    interval,
    mcnemar_p,
    paired_counts,
    wilson,
)
from train.evaluation.evaluate import BATCH_TEXTS, Answers, Model, Scores
from train.evaluation.metrics import figures
from train.evaluation.results import (
    Average,
    AverageDifference,
    AverageFigures,
    BehaviourResult,
    BehaviourTestResult,
    Difference,
    Evaluation,
    Failures,
    Headline,
    ModelOnSet,
    Role,
    SetResult,
    SliceResult,
    Speed,
    SpeedResult,
)
from train.evaluation.slices import LEAST_TEXTS, Slice, slices_of
from train.training.batches import steps

CONFIDENCE = 0.95
_EXAMPLES = 5
_TELL_EVERY_S = 10.0

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answered:
    """Labels of a set, with the scores of each model."""

    truth: Indices
    candidate: Scores
    against: Scores | None


def measure(
    candidate: Model,
    against: Model | None,
    sets: Mapping[str, Sequence[Example]],
    *,
    roles: Mapping[str, Role] = MappingProxyType({}),
    columns: Sequence[str] = (),
    least_slice_texts: int = LEAST_TEXTS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Evaluation:
    """Run inference with the models on every dataset, and compute the metrics.

    Args:
        candidate: Model to evaluate.
        against: Model to compare with, which has the same labels in the same order; None for no comparison.
        sets: Labelled texts by name; none of the sets is empty.
        roles: Roles of the sets that are not random samples of the requests, by name.
        columns: Columns for slices, used for every set that has them.
        least_slice_texts: Minimum number of texts of a slice; smaller slices are joined.
        resamples: Number of resamples of every bootstrap.
        seed: Random seed of every bootstrap.
        on_progress: Callback that receives progress messages, one line each.
        clock: Clock in seconds, for the interval of the messages.
        now: Clock for the time stamp of the evaluation.

    Raises:
        DataError: There is no set, a set is empty, or no set has one of the columns.
        TrainError: A model failed to return predictions.
    """
    if empty := [name for name, examples in sets.items() if not examples]:
        raise DataError(f"the set {empty[0]!r} has no text; remove the set, or lower what it excludes")
    if not sets:
        raise DataError(
            "no set to evaluate on: the settings have no held-out fraction and no test set; add a [[test]]"
        )
    slices = slices_of(sets, columns, least_texts=least_slice_texts)
    models = [candidate] if against is None else [candidate, against]
    turns: list[tuple[Answers, ...]] = []
    answered = {}
    for name, examples in sets.items():
        in_turn = list(_in_turn(models, [example.text for example in examples], name, on_progress, clock))
        turns += in_turn
        scores = [np.concatenate([turn[i].scores for turn in in_turn]) for i in range(len(models))]
        truth = np.array([example.label for example in examples], dtype=np.int64)
        answered[name] = Answered(truth, scores[0], scores[1] if against else None)
    on_progress("behavioural tests")
    behaviour = behave(candidate, against)
    return assemble(
        candidate,
        against,
        answered,
        slices,
        turns,
        behaviour,
        roles=roles,
        resamples=resamples,
        seed=seed,
        created_at=now(),
    )


def assemble(
    candidate: Model,
    against: Model | None,
    answered: Mapping[str, Answered],
    slices: Sequence[Slice],
    turns: Sequence[tuple[Answers, ...]],
    behaviour: BehaviourResult,
    *,
    roles: Mapping[str, Role] = MappingProxyType({}),
    resamples: int,
    seed: int,
    created_at: datetime,
) -> Evaluation:
    """Compute all metrics from the predictions, without further inference."""
    labels = candidate.labels

    def difference(of: Answered, places: Indices | slice) -> Difference | None:
        if of.against is None:
            return None
        counts = _paired(of, places, len(labels))
        drawn = bootstrap([counts], resamples=resamples, seed=seed)
        return Difference(
            accuracy=interval(drawn.measured_accuracy, drawn.accuracy, CONFIDENCE),
            balanced_accuracy=interval(drawn.measured_balanced_accuracy, drawn.balanced_accuracy, CONFIDENCE),
            mcnemar_p=mcnemar_p(counts),
            paired={
                label: (int(row[0]), int(row[1]), int(row[2]), int(row[3]))
                for label, row in zip(labels, counts, strict=True)
                if row.sum()
            },
        )

    everything = slice(None)
    by_set = tuple(
        SetResult(
            name=name,
            role=roles.get(name, "sample"),
            texts=len(of.truth),
            candidate=_on_set(of.truth, of.candidate, labels),
            against=_on_set(of.truth, of.against, labels) if of.against is not None else None,
            difference=difference(of, everything),
        )
        for name, of in answered.items()
    )
    by_slice = []
    for part in slices:
        of, places = answered[part.set], np.array(part.places, dtype=np.int64)
        by_slice.append(
            SliceResult(
                set=part.set,
                column=part.column,
                value=part.value,
                texts=len(places),
                candidate=_headline(of.truth[places], of.candidate[places], labels),
                against=_headline(of.truth[places], of.against[places], labels)
                if of.against is not None
                else None,
                difference=difference(of, places),
            )
        )
    return Evaluation(
        created_at=created_at.isoformat(timespec="seconds"),
        candidate=candidate.card,
        against=against.card if against else None,
        labels=labels,
        seed=seed,
        resamples=resamples,
        confidence=CONFIDENCE,
        average=_average(by_set, answered, len(labels), resamples, seed),
        sets=by_set,
        slices=tuple(by_slice),
        behaviour=behaviour,
        speed=speed(turns),
    )


def speed(turns: Sequence[tuple[Answers, ...]]) -> SpeedResult:
    """Return the speed of both models from their batches, and the typical ratio."""
    of_each = []
    for answers in zip(*turns, strict=True):
        texts = sum(len(answer.scores) for answer in answers)
        tokens = sum(answer.tokens for answer in answers)
        forward_s = sum(answer.forward_s for answer in answers)
        of_each.append(
            Speed(
                batch_texts=BATCH_TEXTS,
                texts=texts,
                tokens=tokens,
                forward_s=forward_s,
                texts_per_s=texts / forward_s,
                tokens_per_s=tokens / forward_s,
            )
        )
    if len(of_each) == 1:
        return SpeedResult(candidate=of_each[0], against=None, ratio=None)
    ratio = statistics.median(against.forward_s / candidate.forward_s for candidate, against in turns)
    return SpeedResult(candidate=of_each[0], against=of_each[1], ratio=ratio)


def behave(candidate: Model, against: Model | None) -> BehaviourResult:
    """Run the behavioural tests, if the labels are a polarity."""
    poles = polarity(candidate.labels)
    if poles is None:
        return BehaviourResult(
            skipped=f"the labels are {', '.join(candidate.labels)}; expected NEGATIVE and POSITIVE",
            tests=(),
        )
    found = []
    for test in behaviour_tests():
        found.append(
            BehaviourTestResult(
                name=test.name,
                kind=test.kind,
                claim=test.claim,
                cases=len(test.cases),
                candidate=_failures(candidate, test, poles),
                against=_failures(against, test, poles) if against else None,
            )
        )
    return BehaviourResult(skipped=None, tests=tuple(found))


def _in_turn(
    models: Sequence[Model],
    texts: Sequence[str],
    name: str,
    on_progress: Callable[[str], None],
    clock: Callable[[], float],
) -> Iterable[tuple[Answers, ...]]:
    """Yield the predictions of all models for each batch; the order of the models alternates.

    The first batch is run once before, so that the first forward pass of each model is not measured.
    """
    told_s = clock()
    for model in models:
        model.answer(texts[:BATCH_TEXTS])
    for number, batch in enumerate(steps(texts, BATCH_TEXTS)):
        order = range(len(models)) if number % 2 == 0 else range(len(models) - 1, -1, -1)
        answers = {i: models[i].answer(batch) for i in order}
        yield tuple(answers[i] for i in range(len(models)))
        if clock() - told_s >= _TELL_EVERY_S:
            told_s = clock()
            on_progress(f"{name}: {number * BATCH_TEXTS + len(batch):,} of {len(texts):,} texts")
    on_progress(f"{name}: all {len(texts):,} texts")


def _on_set(truth: Indices, scores: Scores, labels: Sequence[str]) -> ModelOnSet:
    answered = scores.argmax(axis=1)
    right, texts = (
        np.bincount(truth[answered == truth], minlength=len(labels)),
        np.bincount(truth, minlength=len(labels)),
    )
    return ModelOnSet(
        figures=figures(truth, answered, labels),
        calibration=calibration(scores, truth),
        accuracy=wilson(int(right.sum()), int(texts.sum()), CONFIDENCE),
        balanced_accuracy=balanced_accuracy_interval(right, texts, CONFIDENCE),
    )


def _headline(truth: Indices, scores: Scores, labels: Sequence[str]) -> Headline:
    found = figures(truth, scores.argmax(axis=1), labels)
    return Headline(accuracy=found.accuracy, balanced_accuracy=found.balanced_accuracy)


def _paired(of: Answered, places: Indices | slice, classes: int) -> Counts:
    assert of.against is not None
    return paired_counts(
        of.truth[places],
        of.candidate[places].argmax(axis=1),
        of.against[places].argmax(axis=1),
        classes,
    )


def _average(
    by_set: Sequence[SetResult], answered: Mapping[str, Answered], classes: int, resamples: int, seed: int
) -> Average:
    candidate = _average_figures([of_set.candidate for of_set in by_set])
    both = [of_set.against for of_set in by_set if of_set.against]
    if not both:
        return Average(candidate=candidate, against=None, difference=None)
    counts = [_paired(of, slice(None), classes) for of in answered.values()]
    drawn = bootstrap(counts, resamples=resamples, seed=seed)
    return Average(
        candidate=candidate,
        against=_average_figures(both),
        difference=AverageDifference(
            accuracy=interval(drawn.measured_accuracy, drawn.accuracy, CONFIDENCE),
            balanced_accuracy=interval(drawn.measured_balanced_accuracy, drawn.balanced_accuracy, CONFIDENCE),
        ),
    )


def _average_figures(sets: Sequence[ModelOnSet]) -> AverageFigures:
    def mean(values: Iterable[float]) -> float:
        return statistics.fmean(values)

    return AverageFigures(
        accuracy=mean(of.figures.accuracy for of in sets),
        balanced_accuracy=mean(of.figures.balanced_accuracy for of in sets),
        macro_f1=mean(of.figures.macro_f1 for of in sets),
        calibration_error=mean(of.calibration.error for of in sets),
        negative_log_likelihood=mean(of.calibration.negative_log_likelihood for of in sets),
    )


def _failures(model: Model, test: BehaviourTest, poles: Polarity) -> Failures:
    texts = [text for case in test.cases for text in case.texts]
    scores = np.concatenate([model.answer(batch).scores for batch in steps(texts, BATCH_TEXTS)])
    said = iter([Said(int(row.argmax()), float(row[poles.positive])) for row in scores])
    failing = []
    for case in test.cases:
        answers = [next(said) for _ in case.texts]
        if fails(test, case, answers, poles):
            failing.append(_shown(case, answers, model.labels))
    return Failures(
        failed=len(failing), rate=len(failing) / len(test.cases), examples=tuple(failing[:_EXAMPLES])
    )


def _shown(case: Case, said: Sequence[Said], labels: Sequence[str]) -> str:
    """Return a failing case on one line: its texts with the predictions, each distinct prediction once."""
    shown: dict[int | str, str] = {}
    for text, answer in zip(case.texts, said, strict=True):
        key = answer.label if len(case.texts) > 2 else text
        shown.setdefault(key, f"{text} [{labels[answer.label]}, positive {answer.positive:.2f}]")
    return " | ".join(shown.values())
