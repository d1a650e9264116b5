"""HTML reports as one self-contained file, with style and plots, and without scripts."""

import base64
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
