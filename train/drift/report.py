"""Writer of a drift report: `drift.json`, `report.html`, the plots, and the metrics for monitoring."""

from datetime import UTC, datetime
from pathlib import Path

from train.drift.document import to_json
from train.drift.exporters import cloudwatch, prometheus
from train.drift.measuring import Look
from train.drift.plots import plots
from train.drift.tables import accuracy_rows, effect, p_value
from train.html_report import page

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def write_report(look: Look, folder: Path, now: datetime) -> None:
    """Write all files; create the folder if it is missing.

    Args:
        look: Result of the drift check.
        folder: Output folder.
        now: Time of the drift check, with a time zone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = plots(look)
    for name, image in images.items():
        (folder / f"{name}.png").write_bytes(image)
    (folder / "drift.json").write_text(to_json(look.report), encoding="utf-8")
    (folder / "metrics.prom").write_bytes(prometheus(look.report, now))
    (folder / "cloudwatch.json").write_text(cloudwatch(look.report, now), encoding="utf-8")
    (folder / "report.html").write_text(html(look, images, now), encoding="utf-8")


def html(look: Look, images: dict[str, bytes], now: datetime) -> str:
    """Return the page."""
    return page(
        _TEMPLATE,
        images,
        {"p_value": p_value, "effect": effect, "time": _time},
        report=look.report,
        profile=look.reference.profile,
        accuracy=list(accuracy_rows(look.report.accuracy)),
        now=now,
    )


def _time(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
