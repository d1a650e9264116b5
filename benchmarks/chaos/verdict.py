"""Result of one scenario, its verdict against the bounds, and the table of all results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.bounds import BOUNDS, MEASURES

_COLUMNS = ("failed", "gap_s", "normal_s", "lost_rows")
"""Measures with their own column; the others are listed under "further"."""


@dataclass
class ScenarioResult:
    """Measurements of a scenario.

    Attributes:
        scenario: name of the scenario, a key of `BOUNDS`.
        sent: requests during the scenario.
        failures: failed requests by outcome.
        measures: values by name, each a key of `MEASURES`.
        notes: additional information for the reader.
        skipped: why the scenario did not run; None if it ran.
        error: why the scenario did not finish; None if it did.
    """

    scenario: str
    sent: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    measures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None
    error: str | None = None

    def missed(self, bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> list[str]:
        """Return the missed bounds as messages; an absent measure misses its bound."""
        if self.skipped is not None:
            return []
        missed = [] if self.error is None else [f"did not come to its end: {self.error}"]
        for name, bound in bounds[self.scenario].items():
            value = self.measures.get(name)
            if value is None:
                missed.append(f"{name}: not measured (bound {bound:g})")
            elif not value <= bound:
                missed.append(f"{name}: {_shown(value)} > {bound:g}")
        return missed

    def as_json(self, bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> dict[str, Any]:
        """Return the row as JSON values; an infinite value is null."""
        return {
            "scenario": self.scenario,
            "sent": self.sent,
            "failures": dict(self.failures),
            "measures": {
                name: value if math.isfinite(value) else None for name, value in self.measures.items()
            },
            "bounds": dict(bounds[self.scenario]),
            "notes": self.notes,
            "skipped": self.skipped,
            "missed": self.missed(bounds),
        }


def exit_code(results: Sequence[ScenarioResult], bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> int:
    """Return 1 if any bound is missed or if no scenario was run, otherwise 0."""
    ran = [result for result in results if result.skipped is None]
    return int(not ran or any(result.missed(bounds) for result in ran))


def table(results: Sequence[ScenarioResult], bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> str:
    """Return the results as a Markdown table with one row each, followed by the notes."""
    lines = [
        "| fault | sent | failed | longest gap (s) | normal after (s) | rows lost | further | verdict |",
        "| --- | ---: | --- | ---: | ---: | ---: | --- | --- |",
        *(row(result, bounds) for result in results),
    ]
    notes = [f"{result.scenario}: {note}" for result in results for note in result.notes]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def row(result: ScenarioResult, bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> str:
    """Return a result as a row of the table."""
    values = result.measures
    failed = _shown(values["failed"]) if "failed" in values else "-"
    if result.failures:
        failed += f" ({', '.join(f'{count} {outcome}' for outcome, count in result.failures.most_common())})"
    further = "; ".join(f"{name} {_shown(value)}" for name, value in values.items() if name not in _COLUMNS)
    missed = result.missed(bounds)
    verdict = "MISSED " + "; ".join(missed) if missed else "ok"
    if result.skipped is not None:
        verdict = f"skipped: {result.skipped}"
    plain = [_shown(values[name]) if name in values else "-" for name in _COLUMNS[1:]]
    return f"| {' | '.join([result.scenario, str(result.sent or '-'), failed, *plain, further, verdict])} |"


def bounds_table(bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> str:
    """Return the bounds as the Markdown table of docs/reliability.md."""
    lines = ["| fault | bounds |", "| --- | --- |"]
    for name, of in bounds.items():
        said = "; ".join(f"{MEASURES[measure]} ≤ {bound:g}" for measure, bound in of.items())
        lines.append(f"| {name} | {said} |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    value = float(value)
    if math.isinf(value):
        return "never"
    return f"{value:.0f}" if value.is_integer() else f"{value:.2f}"
