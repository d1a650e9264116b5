"""Results of the demonstration as a table, and as a plot of requests by version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.canary_rollout.load import RequestSample
from examples.canary_rollout.timeline import ObservedStage, StageStatistics, rates

_STEP_S = 2.0
_COLOURS = ("tab:blue", "tab:green", "tab:red")


def table(rows: Mapping[str, Sequence[StageStatistics]]) -> list[str]:
    """Return one row per stage and rollout; the canary's share counts from when its pods were deployed."""
    lines = [
        f"| {'rollout':<8} | stage | duration (s) | answers by version | canary's share | failed | p95 (ms) |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, of_rollout in rows.items():
        for row in of_rollout:
            seconds = row.stage.ended_s - row.stage.began_s
            versions = ", ".join(f"{version}: {count}" for version, count in sorted(row.versions.items()))
            share = "-" if row.canary_share is None else f"{row.canary_share:.0%}"
            p95 = "-" if row.p95_ms is None else f"{row.p95_ms:.0f}"
            failed = ", ".join(f"{what}: {count}" for what, count in row.failures.items()) or "0"
            lines.append(
                f"| {name:<8} | {row.stage.name} | {seconds:.0f} | {versions} | {share} | {failed} | {p95} |"
            )
    return lines


def memory_table(phases: Mapping[str, Mapping[int, int]]) -> list[str]:
    """Return the resident megabytes of every replica, one row per phase."""
    replicas = sorted({pid for sizes in phases.values() for pid in sizes})
    lines = [
        f"| memory by replica (MB) | {' | '.join(str(number) for number in range(1, len(replicas) + 1))} |"
    ]
    lines.append("|---|" + "---|" * len(replicas))
    for phase, sizes in phases.items():
        cells = [f"{sizes[pid] / 1e6:.0f}" if pid in sizes else "-" for pid in replicas]
        lines.append(f"| {phase} | {' | '.join(cells)} |")
    return lines


def draw(path: Path, samples: Sequence[RequestSample], stages: Sequence[ObservedStage]) -> None:
    """Plot the answers per second by version over time, stacked, with the stages marked.

    Args:
        path: path of the PNG.
        samples: all requests.
        stages: stages of all rollouts.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times, series = rates(samples, _STEP_S)
    first = min(sample.due_s for sample in samples)
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [f"version {version}" for version in series]
    axes.stackplot(times, *series.values(), labels=names, colors=_COLOURS, alpha=0.8)
    failed = [sample.due_s - first for sample in samples if sample.failure is not None]
    if failed:
        axes.plot(failed, [0] * len(failed), "kx", label="failed", clip_on=False)
    top = max(map(sum, zip(*series.values(), strict=True)))
    for stage in stages:
        axes.axvline(stage.began_s - first, color="black", linewidth=0.8, linestyle="--")
        axes.text(stage.began_s - first, 1.04 * top, f" {stage.name}", rotation=35, fontsize=9)
    axes.set(
        title="answers by version during the rollouts",
        xlabel="time (s)",
        ylabel="answers per second",
        xlim=(0, times[-1]),
        ylim=(0, 1.35 * top),
    )
    axes.legend(loc="lower left", ncols=len(series) + bool(failed))
    figure.savefig(path, dpi=100)
