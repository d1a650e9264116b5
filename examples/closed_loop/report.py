"""Results of the demonstration: a table, a JSON document, and a plot."""

from __future__ import annotations

import io
import json
from typing import Any

from examples.closed_loop.run import NEW, OLD, LoopResults


def as_text(shown: LoopResults) -> str:
    """Return the table, the reasons of the steps, the paths of the reports, and the faults."""
    lines = ["", "| | before | after |", "|---|---|---|"]
    for name in (NEW, OLD):
        before, after = shown.accuracy[name]
        lines.append(f"| accuracy on the {name} | {before:.3f} | {after:.3f} |")
    lines += [
        f"| version on every pod | 1 | {shown.champion} |",
        f"| requests answered / failed | | {shown.requests:,} / {len(shown.failed)} |",
        f"| answers lost from the log | | {shown.lost} |",
        f"| feedback labels{' (random)' if shown.poisoned else ''} | | {shown.feedback:,} |",
        "",
        *(f"{step.step}: {step.reason}" for step in shown.steps),
        "",
        *(f"report: {path}" for path in shown.reports),
    ]
    ending = "result: as expected" if not shown.faults else "result: NOT as expected:"
    return "\n".join([*lines, ending, *(f"- {fault}" for fault in shown.faults)])


def as_document(shown: LoopResults) -> dict[str, Any]:
    """Return the entire result as an object for JSON."""
    return {
        "holds": not shown.faults,
        "faults": shown.faults,
        "source": shown.source,
        "poisoned": shown.poisoned,
        "steps": [{"step": step.step, "reason": step.reason} for step in shown.steps],
        "champion": shown.champion,
        "accuracy": {
            name: {"before": before, "after": after} for name, (before, after) in shown.accuracy.items()
        },
        "requests": shown.requests,
        "failed": list(shown.failed),
        "lost": shown.lost,
        "feedback": shown.feedback,
        "reports": [str(path) for path in shown.reports],
    }


def to_json(shown: LoopResults) -> str:
    """Return the JSON document on one line."""
    return json.dumps(as_document(shown))


def plot(shown: LoopResults) -> bytes:
    """Plot the accuracy before and after, by domain, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    for number, (label, color) in enumerate((("before", "#999999"), ("after", "#2b6cb0"))):
        values = [shown.accuracy[name][number] for name in (OLD, NEW)]
        bars = axes.bar(
            [0.4 * number - 0.2, 0.4 * number + 0.8], values, width=0.36, color=color, label=label
        )
        axes.bar_label(bars, fmt="%.3f")
    axes.set_xticks((0, 1), (OLD, NEW))
    axes.set(
        title="accuracy before and after the loop",
        xlabel="domain of the texts",
        ylabel="accuracy (fraction)",
        ylim=(0, 1.4),
    )
    axes.legend(ncols=2, loc="upper center")
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=100)
    return written.getvalue()
