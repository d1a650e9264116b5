"""HTML reports as one self-contained file, with style and plots, and without scripts."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_STYLE = Path(__file__).with_name("html_report.css")


def page(
    template: Path, images: Mapping[str, bytes], filters: Mapping[str, Callable[..., Any]], **facts: Any
) -> str:
    """Render a Jinja template, with all values escaped.

    Args:
        template: Template that uses `style`, and `images` as base64 by name.
        images: PNG images by name.
        filters: Further filters of the template.
        facts: Values of the template.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        style=Markup(_STYLE.read_text(encoding="utf-8")),
        images={name: base64.b64encode(image).decode() for name, image in images.items()},
        **facts,
    )


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
