"""Evaluation as tables for a terminal."""

from collections.abc import Iterator, Sequence

from train.evaluation.compare import Interval
from train.evaluation.results import Evaluation, ModelCard, SetResult


def summary(evaluation: Evaluation) -> str:
    """Return all tables, the most general first."""
    return "\n\n".join(_parts(evaluation))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns, the first row as header; all but the first column are right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def signed(of: Interval) -> str:
    """Return a difference in percentage points, with its interval."""
    return f"{100 * of.estimate:+.1f} [{100 * of.low:+.1f}, {100 * of.high:+.1f}]"


def share(value: float, of: Interval | None) -> str:
    """Return a share with its interval, if known."""
    return fraction(value) + (f" [{fraction(of.low)}, {fraction(of.high)}]" if of else "")


def fraction(value: float | None) -> str:
    """Return a fraction to three digits."""
    return "-" if value is None else f"{value:.3f}"


def named(card: ModelCard) -> str:
    """Return the description of a model on one line."""
    temperature = f", temperature {card.temperature:g}" if card.temperature is not None else ""
    return f"{card.name} {card.version} ({card.address}, {card.device}, {card.dtype}{temperature})"


def _parts(evaluation: Evaluation) -> Iterator[str]:
    yield "model    " + named(evaluation.candidate)
    if evaluation.against:
        yield "against  " + named(evaluation.against)
    yield _sets(evaluation)
    if evaluation.against:
        yield _differences(evaluation)
    if evaluation.slices:
        yield _slices(evaluation)
    yield _behaviour(evaluation)
    yield _speed(evaluation)


def _sets(evaluation: Evaluation) -> str:
    labels = evaluation.labels
    rows = [
        [
            "set",
            "texts",
            "accuracy",
            "balanced",
            "macro F1",
            *(f"recall {label}" for label in labels),
            *(f"precision {label}" for label in labels),
            "calibration error",
            "-ln p",
        ]
    ]
    rows += [_set_row(of_set, labels) for of_set in evaluation.sets]
    if len(evaluation.sets) > 1:
        mean = evaluation.average.candidate
        blank = [""] * 2 * len(labels)
        rows.append(
            [
                "mean of the sets",
                f"{sum(of_set.texts for of_set in evaluation.sets):,}",
                f"{mean.accuracy:.3f}",
                f"{mean.balanced_accuracy:.3f}",
                f"{mean.macro_f1:.3f}",
                *blank,
                f"{mean.calibration_error:.3f}",
                f"{mean.negative_log_likelihood:.3f}",
            ]
        )
    return table(rows)


def _set_row(of_set: SetResult, labels: Sequence[str]) -> list[str]:
    figures, scores = of_set.candidate.figures, of_set.candidate.calibration
    return [
        of_set.name,
        f"{of_set.texts:,}",
        share(figures.accuracy, of_set.candidate.accuracy),
        share(figures.balanced_accuracy, of_set.candidate.balanced_accuracy),
        f"{figures.macro_f1:.3f}",
        *(fraction(figures.recall.get(label)) for label in labels),
        *(fraction(figures.precision.get(label)) for label in labels),
        f"{scores.error:.3f}",
        f"{scores.negative_log_likelihood:.3f}",
    ]


def _differences(evaluation: Evaluation) -> str:
    rows = [
        [
            "difference in percentage points, 95 % interval",
            "texts",
            "accuracy",
            "balanced accuracy",
            "McNemar p",
        ]
    ]
    for of_set in evaluation.sets:
        if of_set.difference:
            difference = of_set.difference
            rows.append(
                [
                    of_set.name,
                    f"{of_set.texts:,}",
                    signed(difference.accuracy),
                    signed(difference.balanced_accuracy),
                    f"{difference.mcnemar_p:.3g}",
                ]
            )
    if (overall := evaluation.average.difference) and len(evaluation.sets) > 1:
        rows.append(["mean of the sets", "", signed(overall.accuracy), signed(overall.balanced_accuracy), ""])
    return table(rows)


def _slices(evaluation: Evaluation) -> str:
    head = ["slice", "texts", "accuracy", "balanced"]
    rows = [[*head, "balanced difference"] if evaluation.against else head]
    for part in evaluation.slices:
        row = [
            f"{part.set} {part.column}={part.value}",
            f"{part.texts:,}",
            f"{part.candidate.accuracy:.3f}",
            f"{part.candidate.balanced_accuracy:.3f}",
        ]
        rows.append([*row, signed(part.difference.balanced_accuracy)] if part.difference else row)
    return table(rows)


def _behaviour(evaluation: Evaluation) -> str:
    behaviour = evaluation.behaviour
    if behaviour.skipped:
        return f"behavioural tests skipped: {behaviour.skipped}"
    head = ["behavioural test", "cases", "failed"]
    rows = [[*head, "failed by against"] if evaluation.against else head]
    for test in behaviour.tests:
        row = [f"{test.kind}: {test.name}", str(test.cases), f"{test.candidate.rate:.1%}"]
        rows.append([*row, f"{test.against.rate:.1%}"] if test.against else row)
    return table(rows)


def _speed(evaluation: Evaluation) -> str:
    speed = evaluation.speed
    pairs = [("model", speed.candidate), *([("against", speed.against)] if speed.against else [])]
    rows = [["speed", "texts/s", "tokens/s"]]
    rows += [[name, f"{of.texts_per_s:,.0f}", f"{of.tokens_per_s:,.0f}"] for name, of in pairs]
    ratio = (
        f"\nspeed of the model / speed of against, median over the batches: {speed.ratio:.2f}"
        if speed.ratio
        else ""
    )
    return table(rows) + ratio
