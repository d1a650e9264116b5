"""Learning curves of a run, as a PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw the losses by step, and the balanced accuracy of every held-out sample.

    Args:
        history: One entry per evaluation, as in a checkpoint.
        path: Output file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, accuracies = figure.subplots(1, 2)
    _draw(losses, history, {"loss": "training", "held_out_loss": "held out"})
    losses.set_ylabel("loss (cross-entropy)")
    suffix = "_balanced_accuracy"
    names = sorted({name for look in history for name in look if name.endswith(suffix)})
    _draw(accuracies, history, {name: name.removesuffix(suffix) for name in names})
    accuracies.set_ylabel("balanced accuracy")
    figure.savefig(path, dpi=110)


def _draw(axes: object, history: Sequence[Mapping[str, float]], lines: Mapping[str, str]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    for name, label in lines.items():
        points = [(look["step"], look[name]) for look in history if name in look]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize=8)
