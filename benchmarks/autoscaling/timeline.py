"""Results of a run: requests and pods over time, the figures of both, and a plot of several runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BIN_S = 5.0
"""Width in seconds of the bins for the rate and the p95 in the plot."""


@dataclass(frozen=True)
class Request:
    """Finished request: due time in s since the start of the run, latency in ms from then, and failure."""

    due_s: float
    latency_ms: float
    failure: str | None


@dataclass(frozen=True)
class Pods:
    """Numbers of pods: desired by Serve, answering replicas, and Ray nodes with a GPU."""

    at_s: float
    target: int
    replicas: int
    nodes: int


@dataclass(frozen=True)
class Run:
    """Run of one policy under the load."""

    policy: str
    requests: Sequence[Request]
    pods: Sequence[Pods]

    def targets(self) -> list[int]:
        """Return the desired numbers of pods in order."""
        seen: list[int] = []
        for point in self.pods:
            if not seen or seen[-1] != point.target:
                seen.append(point.target)
        return seen

    def turns(self) -> int:
        """Return how often the desired number changed direction; once up and once down is 1."""
        signs = np.sign(np.diff(self.targets()))
        return int(np.count_nonzero(np.diff(signs)))

    def p95_ms(self, from_s: float = 0.0, to_s: float = np.inf) -> float:
        """Return the p95 of the requests due in a time span; NaN without any.

        A failed request counts as the slowest.
        """
        latencies = [
            request.latency_ms if request.failure is None else np.inf
            for request in self.requests
            if from_s <= request.due_s < to_s
        ]
        return float(np.quantile(latencies, 0.95, method="higher")) if latencies else np.nan

    def pod_minutes(self) -> float:
        """Return the integral of nodes over time, which determines the cost."""
        times = [point.at_s for point in self.pods]
        return float(np.trapezoid([point.nodes for point in self.pods], times)) / 60

    def failures(self) -> Counter[str]:
        """Return the requests without a correct answer, by kind."""
        return Counter(request.failure for request in self.requests if request.failure is not None)

    def figures(self) -> dict[str, object]:
        """Return the figures of the run."""
        starts = np.arange(0, self.requests[-1].due_s - BIN_S, BIN_S)
        worst = max(self.p95_ms(at_s, at_s + 2 * BIN_S) for at_s in starts)
        return {
            "requests": len(self.requests),
            "failed": sum(self.failures().values()),
            "failures": dict(self.failures()),
            "p95": _ms(self.p95_ms()),
            "p95 of the worst 10 s": _ms(worst),
            "pods wanted": " ".join(map(str, self.targets())),
            "most replicas": max(point.replicas for point in self.pods),
            "replicas at the end": self.pods[-1].replicas,
            "nodes at the end": self.pods[-1].nodes,
            "turns": self.turns(),
            "pod minutes": round(self.pod_minutes(), 1),
        }


def _ms(latency_ms: float) -> str:
    return f"{latency_ms:.0f} ms" if np.isfinite(latency_ms) else "no answer"


def table(runs: Sequence[Run]) -> str:
    """Return a table of the figures of all runs."""
    columns: list[Mapping[str, object]] = [run.figures() for run in runs]
    lines = [f"{'':28}" + "".join(f"{run.policy:>30}" for run in runs)]
    lines += [f"{name:28}" + "".join(f"{column[name]!s:>30}" for column in columns) for name in columns[0]]
    return "\n".join(lines)


def plot(path: Path, runs: Sequence[Run], pod_per_s: float, promised_ms: float) -> None:
    """Plot load, pods and p95 over time, one column per policy."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, len(runs), sharex="col", sharey="row", squeeze=False)
    for (load, pods, latency), run in zip(grid.T, runs, strict=True):
        end_s = run.pods[-1].at_s
        edges = np.arange(0, end_s + BIN_S, BIN_S)
        sent, _ = np.histogram([request.due_s for request in run.requests], edges)
        failed, _ = np.histogram([request.due_s for request in run.requests if request.failure], edges)
        load.stairs(sent / BIN_S, edges, label="offered")
        load.stairs(failed / BIN_S, edges, label="failed", color="tab:red", fill=True)
        load.axhline(pod_per_s, color="grey", linestyle=":", label="promise of a pod")
        load.set_title(run.policy)
        times = [point.at_s for point in run.pods]
        for name, style in (("target", ":"), ("nodes", "--"), ("replicas", "-")):
            pods.step(times, [getattr(point, name) for point in run.pods], style, where="post", label=name)
        p95 = [run.p95_ms(at, at + BIN_S) for at in edges[:-1]]
        latency.stairs(np.minimum(p95, 10_000), edges, baseline=None, label="p95")
        latency.axhline(promised_ms, color="grey", linestyle=":", label="promise")
        latency.set(yscale="log", xlabel="seconds", ylim=(10, 10_000))
        for axes in (load, pods, latency):
            axes.grid(alpha=0.3)
            axes.legend(loc="upper right", fontsize="small")
    for axes, name in zip(grid[:, 0], ("requests/s", "pods", "ms, from the due time"), strict=True):
        axes.set_ylabel(name)
    figure.savefig(path, dpi=90)
