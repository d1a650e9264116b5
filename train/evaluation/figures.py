"""What is said of a model's answers on one set: accuracy, balanced accuracy, recall of each class."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one set; fractions between 0 and 1."""

    texts: int
    accuracy: float
    balanced_accuracy: float
    """Mean of the classes' recalls: a model that says one label to everything gets 1 / classes."""
    recall: dict[str, float]
    """Of each class that occurs, by its name."""
    class_texts: dict[str, int]


def figures(
    truth: Sequence[int] | Labels, predicted: Sequence[int] | Labels, labels: Sequence[str]
) -> Figures:
    """Compare labels, both as indices of logits, text by text."""
    from sklearn.metrics import accuracy_score, recall_score

    present = sorted({int(label) for label in truth})
    recalls = recall_score(truth, predicted, labels=present, average=None, zero_division=0.0)
    return Figures(
        texts=len(truth),
        accuracy=float(accuracy_score(truth, predicted)),
        balanced_accuracy=float(np.mean(recalls)),
        recall={labels[i]: float(value) for i, value in zip(present, recalls, strict=True)},
        class_texts={labels[i]: int(np.sum(np.asarray(truth) == i)) for i in present},
    )


def as_json(by_set: Mapping[str, Figures]) -> dict[str, dict[str, object]]:
    """JSON-ready, rounded to four digits: finer is noise with these sizes."""
    return {name: _rounded(asdict(of_set)) for name, of_set in by_set.items()}


def _rounded(value: dict[str, object]) -> dict[str, object]:
    def rounded(item: object) -> object:
        if isinstance(item, float):
            return round(item, 4)
        return {key: rounded(inner) for key, inner in item.items()} if isinstance(item, dict) else item

    return {key: rounded(item) for key, item in value.items()}


def as_table(by_set: Mapping[str, Figures], labels: Sequence[str]) -> str:
    """A Markdown table, one set a row."""
    head = ["set", "texts", "accuracy", "balanced accuracy", *(f"recall {label}" for label in labels)]
    rows = [head, ["---"] * len(head)]
    for name, of_set in by_set.items():
        recalls = [f"{of_set.recall[label]:.3f}" if label in of_set.recall else "-" for label in labels]
        rows.append(
            [name, f"{of_set.texts:,}", f"{of_set.accuracy:.3f}", f"{of_set.balanced_accuracy:.3f}", *recalls]
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
