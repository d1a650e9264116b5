"""Figures without pyplot: no global state, no display, and always the Agg canvas."""

import io
from typing import Any

_DPI = 110


def new_figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    """Return a figure and its panels, row by row; width and height are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def png(figure: Any) -> bytes:
    """Return the figure as PNG bytes, without panels that have no data."""
    for panel in figure.axes:
        if not panel.has_data():
            panel.remove()
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=_DPI)
    return target.getvalue()
