"""Writer of `report.html`: an evaluation with plots and the gate's verdict in one self-contained file."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.evaluation.calibration import Bin
from train.evaluation.compare import Interval
from train.evaluation.gate import Verdict
from train.evaluation.results import Evaluation, ModelOnSet, to_json
from train.evaluation.tables import fraction, share, signed
from train.html_report import new_figure, page, png

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_WRITTEN_PLOTS = ("reliability", "confusion")


def write_report(evaluation: Evaluation, folder: Path, verdict: Verdict | None = None) -> None:
    """Write `evaluation.json`, `report.html`, `reliability.png` and `confusion.png`.

    Args:
        evaluation: Results of the evaluation.
        folder: Output folder, created if missing.
        verdict: Verdict of the gate, shown first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = plots(evaluation)
    for name in _WRITTEN_PLOTS:
        (folder / f"{name}.png").write_bytes(images[name])
    (folder / "evaluation.json").write_text(to_json(evaluation), encoding="utf-8")
    (folder / "report.html").write_text(html(evaluation, images, verdict), encoding="utf-8")


def html(evaluation: Evaluation, images: dict[str, bytes], verdict: Verdict | None = None) -> str:
    """Return the page."""
    return page(
        _TEMPLATE,
        images,
        {"signed": signed, "share": share, "fraction": fraction},
        evaluation=evaluation,
        verdict=verdict,
    )


_COLUMNS = 3
_PANEL_INCHES = 3.0
_CANDIDATE, _AGAINST = "#1f5fa8", "#b3561d"


def plots(evaluation: Evaluation) -> dict[str, bytes]:
    """Return all plots for which the evaluation has values, by name."""
    images = {"reliability": reliability(evaluation), "confusion": confusion(evaluation)}
    return images | ({"differences": differences(evaluation)} if evaluation.against else {})


def reliability(evaluation: Evaluation) -> bytes:
    """Plot one panel per set: accuracy by score, with point sizes by number of texts."""
    figure, panels = _panels(len(evaluation.sets))
    for panel, of_set in zip(panels, evaluation.sets, strict=False):
        panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        _curve(panel, of_set.candidate, _CANDIDATE, "candidate")
        if of_set.against:
            _curve(panel, of_set.against, _AGAINST, "against")
        panel.set(
            title=of_set.name,
            xlim=(0, 1.02),
            ylim=(0, 1.02),
            xlabel="score of the predicted label",
            ylabel="accuracy (fraction)",
        )
        panel.legend(loc="lower left", fontsize=9, frameon=False)
    return png(figure)


def confusion(evaluation: Evaluation) -> bytes:
    """Plot one panel per set: the share of each predicted class, by true class."""
    labels = evaluation.labels
    figure, panels = _panels(len(evaluation.sets))
    for panel, of_set in zip(panels, evaluation.sets, strict=False):
        counts = np.array(
            [[of_set.candidate.figures.confusion[true][label] for label in labels] for true in labels]
        )
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(counts.shape):
            panel.text(
                column,
                row,
                f"{counts[row, column]:,}\n{shares[row, column]:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if shares[row, column] > 0.5 else "black",
            )
        panel.set(title=of_set.name, xlabel="predicted label", ylabel="true label")
        panel.set_xticks(range(len(labels)), labels, fontsize=9)
        panel.set_yticks(range(len(labels)), labels, fontsize=9, rotation=90, va="center")
    return png(figure)


def differences(evaluation: Evaluation) -> bytes:
    """Plot one line per set and slice: the difference of balanced accuracy with its interval."""
    rows = list(_rows(evaluation))
    figure, panels = new_figure(1, 1, width=2.4 * _PANEL_INCHES, height=1.4 + 0.24 * len(rows))
    panel = panels[0]
    panel.axvline(0, color="0.6", linewidth=1)
    for height, (_, found) in enumerate(reversed(rows)):
        (interval,) = panel.plot(
            [100 * found.low, 100 * found.high], [height, height], color=_CANDIDATE, linewidth=1.5
        )
        (estimate,) = panel.plot(100 * found.estimate, height, "o", color=_CANDIDATE, markersize=4)
    panel.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)], fontsize=9)
    panel.set(
        title="balanced accuracy: candidate minus against",
        xlabel="difference (percentage points)",
        ylabel="set or slice",
    )
    if rows:
        names = ["estimate", f"{100 * evaluation.confidence:g} % interval"]
        panel.legend([estimate, interval], names, fontsize=9)
    return png(figure)


def _rows(evaluation: Evaluation) -> Iterator[tuple[str, Interval]]:
    if evaluation.average.difference:
        yield "mean of the sets", evaluation.average.difference.balanced_accuracy
    for of_set in evaluation.sets:
        if of_set.difference:
            yield of_set.name, of_set.difference.balanced_accuracy
    for part in evaluation.slices:
        if part.difference:
            yield f"{part.set} {part.column}={part.value[:30]}", part.difference.balanced_accuracy


def _curve(panel: Any, model: ModelOnSet, color: str, name: str) -> None:
    filled: Sequence[Bin] = [a_bin for a_bin in model.calibration.bins if a_bin.texts]
    scores = [a_bin.mean_score for a_bin in filled]
    accuracy = [a_bin.accuracy for a_bin in filled]
    share = np.array([a_bin.texts for a_bin in filled]) / model.figures.texts
    panel.plot(
        scores, accuracy, color=color, linewidth=1, label=f"{name}, error {model.calibration.error:.3f}"
    )
    panel.scatter(scores, accuracy, s=6 + 160 * share, color=color, alpha=0.6, linewidths=0)


def _panels(count: int) -> tuple[Any, list[Any]]:
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    # A title and a legend need more than the width of one panel.
    width = max(_PANEL_INCHES * columns, _PANEL_INCHES + 1)
    return new_figure(rows, columns, width=width, height=_PANEL_INCHES * rows)
