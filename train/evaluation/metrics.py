"""Classification metrics on one set: accuracies, F1, recall, precision, confusion matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """Classification metrics of one set; fractions between 0 and 1."""

    texts: int
    accuracy: float
    balanced_accuracy: float
    """Mean of the classes' recalls; it is 1 / classes for a model that always predicts the same label."""
    macro_f1: float
    """Mean of the F1 of every class that occurs in the labels or in the predictions, as in scikit-learn."""
    recall: dict[str, float]
    """Recall of each class that occurs, by its name."""
    precision: dict[str, float]
    """Precision of each class that was predicted at least once, by its name."""
    class_texts: dict[str, int]
    confusion: dict[str, dict[str, int]]
    """Texts by true class and predicted class; every class is included."""


def figures(
    truth: Sequence[int] | Labels, predicted: Sequence[int] | Labels, labels: Sequence[str]
) -> Figures:
    """Compute the metrics of at least one text from true and predicted labels, both as indices of logits."""
    matrix = confusion(truth, predicted, len(labels))
    right, of_class, answered = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = of_class > 0
    recalls = right[occurs] / of_class[occurs]
    # F1 = 2 correct / (true + predicted): the harmonic mean of precision and recall without fractions.
    known = of_class + answered > 0
    f1 = 2 * right[known] / (of_class + answered)[known]
    return Figures(
        texts=int(matrix.sum()),
        accuracy=float(right.sum() / matrix.sum()),
        balanced_accuracy=float(recalls.mean()),
        macro_f1=float(f1.mean()),
        recall={labels[i]: float(right[i] / of_class[i]) for i in np.flatnonzero(occurs).tolist()},
        precision={labels[i]: float(right[i] / answered[i]) for i in np.flatnonzero(answered).tolist()},
        class_texts={labels[i]: int(of_class[i]) for i in np.flatnonzero(occurs).tolist()},
        confusion={
            label: {other: int(count) for other, count in zip(labels, row, strict=True)}
            for label, row in zip(labels, matrix, strict=True)
        },
    )


def confusion(truth: Sequence[int] | Labels, predicted: Sequence[int] | Labels, classes: int) -> Labels:
    """Return counts: int64 (classes, classes), one row per true class, one column per predicted class."""
    pairs = np.asarray(truth, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def as_json(by_set: Mapping[str, Figures]) -> dict[str, dict[str, object]]:
    """Return JSON values, rounded to four digits; further digits are noise for sets of this size."""
    return {name: _rounded(asdict(of_set)) for name, of_set in by_set.items()}


def _rounded(value: dict[str, object]) -> dict[str, object]:
    def rounded(item: object) -> object:
        if isinstance(item, float):
            return round(item, 4)
        return {key: rounded(inner) for key, inner in item.items()} if isinstance(item, dict) else item

    return {key: rounded(item) for key, item in value.items()}


def as_table(by_set: Mapping[str, Figures], labels: Sequence[str]) -> str:
    """Return a Markdown table with one row per set."""
    head = ["set", "texts", "accuracy", "balanced accuracy", *(f"recall {label}" for label in labels)]
    rows = [head, ["---"] * len(head)]
    for name, of_set in by_set.items():
        recalls = [f"{of_set.recall[label]:.3f}" if label in of_set.recall else "-" for label in labels]
        rows.append(
            [name, f"{of_set.texts:,}", f"{of_set.accuracy:.3f}", f"{of_set.balanced_accuracy:.3f}", *recalls]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
