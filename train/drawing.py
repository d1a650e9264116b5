"""Figures without pyplot: no global state, no display, the Agg canvas whatever is configured."""

import io
from typing import Any

_DPI = 110


def new_figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure and its panels, row by row; width and height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def png(figure: Any) -> bytes:
    """The figure as a file; panels without data are left out."""
    for panel in figure.axes:
        if not panel.has_data():
            panel.remove()
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=_DPI)
    return target.getvalue()
