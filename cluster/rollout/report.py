"""Reports of a rollout as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cluster.rollout.analysis import CanaryFinding, judge
from cluster.rollout.metric_window import Counts, p95_ms
from cluster.rollout.state import Entry, Rollout, RolloutState
from cluster.rollout.targets.base import DeploymentState


def as_json(rollout: Rollout, serving: DeploymentState | None) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "state": rollout.state,
        "rollout": rollout.number,
        "champion": rollout.champion.uri,
        "canary": rollout.canary.uri,
        "stage": rollout.stage,
        "held": rollout.held,
        "stages": [{"pods": step.pods, "shadow": step.shadow} for step in rollout.steps],
        "reason": rollout.reason,
        "since": rollout.since,
        "windows": len(rollout.windows),
        "requests": {name: counts.requests for name, counts in _sides(rollout)},
        "tests": [
            {
                "test": finding.test,
                "champion": finding.champion,
                "canary": finding.canary,
                "tolerance": finding.tolerance,
                "evidence": round(finding.evidence, 3),
                "limit": round(finding.limit, 3),
            }
            for finding in judge(rollout.windows, rollout.plan)
        ],
        "serving": None
        if serving is None
        else {
            "champion": serving.split.champion,
            "canary": serving.split.canary,
            "canary_pods": serving.split.step.pods if serving.split.step else 0,
            "replicas": serving.replicas,
            "settled": serving.settled,
        },
    }


def describe(rollout: Rollout, serving: DeploymentState | None, *, is_running: bool) -> str:
    """Return the text that `status` prints.

    Args:
        rollout: rollout from the journal.
        serving: state of the cluster, or None if it could not be read.
        is_running: whether a controller is running.
    """
    lines = [f"rollout {rollout.number}: {rollout.state}" if rollout.number else "no rollout yet"]
    if rollout.number:
        lines += [
            f"  champion  {rollout.champion.uri}",
            f"  canary    {rollout.canary.uri}",
            f"  stages    {_stages(rollout)}",
            f"  reason    {rollout.reason}, {_time(rollout.since)}",
        ]
    if rollout.held:
        lines.append(
            "  waiting for approval: continue with `rollout resume`, or roll back with `rollout abort`"
        )
    elif not rollout.state.rests and not is_running:
        lines.append(
            "  no controller is running: continue with `rollout resume`, or roll back with `rollout abort`"
        )
    if serving is not None:
        lines.append(f"  pods      {_serving(serving)}")
        if (
            rollout.state in (RolloutState.PROMOTED, RolloutState.ROLLED_BACK)
            and serving.split != rollout.split
        ):
            lines.append(
                f"  changed   since the rollout ended, by {_changed_by(serving.fence, rollout.fence)}"
            )
    if rollout.windows:
        lines += ["", *table(rollout)]
    return "\n".join(lines)


def table(rollout: Rollout) -> list[str]:
    """Return the table rows of both versions and of every test."""
    rows = [f"  {'':<10}{'requests':>10}{'5xx':>8}{'429':>8}{'p95 ms':>9}  labels"]
    for name, counts in _sides(rollout):
        p95 = p95_ms(counts.latency)
        labels = ", ".join(f"{label} {share:.0%}" for label, share in _shares(counts.label_shares))
        latency = "-" if p95 is None else f"{p95:.0f}"
        rows.append(
            f"  {name:<10}{counts.requests:>10}{counts.errors:>8}{counts.refused:>8}{latency:>9}  {labels}"
        )
    findings = judge(rollout.windows, rollout.plan)
    if findings:
        rows += ["", f"  {'test':<15}{'champion':>10}{'canary':>10}{'limit':>9}   evidence for rolling back"]
        rows += [_row(finding) for finding in findings]
    return rows


def history(entries: Iterable[Entry]) -> list[str]:
    """Return one line for every transition."""
    return [
        f"{_time(float(entry['at']))}  {str(entry['event']).replace('_', ' '):<13} {entry.get('reason', '')}"
        for entry in entries
        if entry["event"] not in ("observed", "applied")
    ]


def _row(finding: CanaryFinding) -> str:
    champion = "-" if finding.champion is None else f"{finding.champion:.2%}"
    canary = "-" if finding.canary is None else f"{finding.canary:.2%}"
    tolerance = f"+{finding.tolerance:.1%}"
    odds = max(0.0, finding.evidence / math.log(10))
    bar = "#" * min(20, round(20 * max(0.0, finding.evidence) / finding.limit))
    return f"  {finding.test:<15}{champion:>10}{canary:>10}{tolerance:>9}   [{bar:<20}] 10^{odds:.1f}"


def _sides(rollout: Rollout) -> list[tuple[str, Counts]]:
    return [
        ("champion", _added([window.champion for window in rollout.windows])),
        ("canary", _added([window.canary for window in rollout.windows])),
    ]


def _added(counts: Sequence[Counts]) -> Counts:
    labels = sorted({label for one in counts for label in one.label_shares})
    return Counts(
        requests=sum(one.requests for one in counts),
        errors=sum(one.errors for one in counts),
        refused=sum(one.refused for one in counts),
        latency=tuple(map(sum, zip(*(one.latency for one in counts), strict=True))) or Counts().latency,
        label_shares={label: sum(one.label_shares.get(label, 0.0) for one in counts) for label in labels},
    )


def _shares(labels: Mapping[str, float]) -> list[tuple[str, float]]:
    total = sum(labels.values())
    return [(label, count / total) for label, count in labels.items()] if total else []


def _stages(rollout: Rollout) -> str:
    names = [f"{step.pods} pod{'s' * (step.pods > 1)}{' in shadow' * step.shadow}" for step in rollout.steps]
    present = rollout.stage if rollout.state is RolloutState.CANARY else None
    marked = [f"[{name}]" if number == present else name for number, name in enumerate(names)]
    return " > ".join([*marked, "[all]" if rollout.state is RolloutState.PROMOTING else "all"])


def _serving(serving: DeploymentState) -> str:
    split = serving.split
    settled = "" if serving.settled else ", changing"
    if split.canary is None or split.step is None:
        return f"{serving.replicas} of {split.champion}{settled}"
    canary = min(split.step.pods, serving.replicas)
    shadow = " in shadow" if split.step.shadow else ""
    return f"{serving.replicas - canary} of {split.champion}, {canary} of {split.canary}{shadow}{settled}"


def _changed_by(fence: int, last: int) -> str:
    """Describe the writer of the served split by its change number; `last` is this rollout's last change."""
    if fence > last:
        return f"change {fence} of another rollout"
    return f"an outdated controller: change {fence} of {last}" if fence else "another program or person"


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
