"""Writer of `report.html`: an evaluation and the gate's verdict in one self-contained file."""

from pathlib import Path

from train.evaluation.gate import Verdict
from train.evaluation.plots import plots
from train.evaluation.results import Evaluation, to_json
from train.evaluation.tables import fraction, share, signed
from train.html_report import page

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
