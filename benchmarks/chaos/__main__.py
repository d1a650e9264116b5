"""`python -m benchmarks.chaos`: break the service in every way listed in docs/reliability.md, and judge it.

Each row of the table is a fault with traffic beside it. The exit code is 1 if any bound is missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.chaos.bounds import BOUNDS
from benchmarks.chaos.scenarios import SCENARIOS, FaultScenario
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.service import SharedService
from benchmarks.chaos.verdict import ScenarioResult, bounds_table, exit_code, row, table

_CLEAN_UP_S = 60.0
"""Seconds that a terminated scenario has to stop what it started."""


class ScenarioTimeoutError(Exception):
    """Scenario exceeded its time limit."""


def main(
    args: Sequence[str] | None = None,
    *,
    scenarios: Mapping[str, FaultScenario] = SCENARIOS,
    bounds: Mapping[str, Mapping[str, float]] = BOUNDS,
) -> int:
    """Run the selected scenarios and print the table; return 1 if any bound is missed, otherwise 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help="part of the name of a scenario to run, or of several (default: all): " + ", ".join(scenarios),
    )
    parser.add_argument(
        "--soak-minutes", type=float, default=10.0, help="duration of the soak in minutes (default: 10)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the rows to as JSON")
    parser.add_argument("--bounds", action="store_true", help="print the table of the bounds and end")
    options = parser.parse_args(args)
    if options.bounds:
        print(bounds_table(bounds))
        return 0
    chosen = [name for name in scenarios if not options.rows or any(part in name for part in options.rows)]
    if unknown := [part for part in options.rows if not any(part in name for name in scenarios)]:
        parser.error(f"no scenario has {unknown[0]!r} in its name; the scenarios: {', '.join(scenarios)}")
    if options.soak_minutes < 1:
        parser.error(f"--soak-minutes {options.soak_minutes:g} is too short for a slope; at least 1")

    context = ScenarioContext(SharedService(), soak_s=60 * options.soak_minutes)
    results: list[ScenarioResult] = []
    began = time.monotonic()
    try:
        for name in chosen:
            results.append(_run(name, scenarios[name], context))
            print(f"[{time.monotonic() - began:5.0f} s] {row(results[-1], bounds)}", flush=True)
            for note in results[-1].notes:
                print(f"          {note}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; the rows so far:", file=sys.stderr)
        return 130
    finally:
        context.shared.close()
        print(f"\n{table(results, bounds)}", flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps([result.as_json(bounds) for result in results], indent=1))
    return exit_code(results, bounds)


def _run(name: str, scenario: FaultScenario, context: ScenarioContext) -> ScenarioResult:
    """Run a scenario within its time limit; an exception becomes its result."""
    limit_s = scenario.limit_s + (context.soak_s if scenario.soaks else 0)
    try:
        with _limited(limit_s):
            return scenario.run(context, name)
    except Exception as error:  # the failure of one scenario must not end the run
        with _limited(_CLEAN_UP_S):
            context.shared.close()
        return ScenarioResult(name, error=f"{type(error).__name__}: {error}")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise ScenarioTimeoutError in the block after `seconds`."""

    def end(_number: int, _frame: object) -> None:
        raise ScenarioTimeoutError(f"not done after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    raise SystemExit(main())
