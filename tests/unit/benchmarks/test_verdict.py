"""Tests of the run's exit code and table, with scenarios that start no service."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import main
from benchmarks.chaos.bounds import BOUNDS, MEASURES
from benchmarks.chaos.scenarios import SCENARIOS, FaultScenario
from benchmarks.chaos.scenarios.context import ScenarioContext
from benchmarks.chaos.verdict import ScenarioResult, bounds_table
from tests.conftest import ROOT

LIMITS = {"first": {"failed": 0, "gap_s": 2}, "second": {"failed": 1}}
GOOD = {"failed": 0.0, "gap_s": 2.0}


def scenario(
    measures: Mapping[str, float] | None = None, *, skipped: str | None = None, limit_s: float = 10
) -> FaultScenario:
    def run(_context: ScenarioContext, name: str) -> ScenarioResult:
        return ScenarioResult(name, sent=10, measures=dict(measures or {}), skipped=skipped)

    return FaultScenario(run, limit_s)


def raising(do: Callable[[], object]) -> FaultScenario:
    def run(_context: ScenarioContext, _name: str) -> ScenarioResult:
        do()
        raise RuntimeError("it broke")

    return FaultScenario(run, 0.2)


def run(first: FaultScenario, second: FaultScenario | None = None, *args: str) -> int:
    return main(args, scenarios={"first": first, "second": second or scenario(GOOD)}, bounds=LIMITS)


def test_the_run_succeeds_when_every_measure_is_at_its_bound() -> None:
    assert run(scenario(GOOD), scenario({"failed": 1.0})) == 0


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        (GOOD | {"failed": 1.0}, "failed: 1 > 0"),
        (GOOD | {"gap_s": 2.01}, "gap_s: 2.01 > 2"),
        (GOOD | {"gap_s": float("inf")}, "gap_s: never > 2"),
        (GOOD | {"gap_s": float("nan")}, "gap_s: nan > 2"),
        ({"failed": 0.0}, "gap_s: not measured (bound 2)"),
    ],
)
def test_a_missed_bound_fails_the_run_and_is_named(
    measures: dict[str, float], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scenario(measures)) == 1
    final_table = capsys.readouterr().out.rpartition("| fault |")[2]
    assert f"MISSED {said} |" in final_table


def test_a_scenario_that_raises_or_hangs_fails_the_run_and_the_others_still_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for failing, said in (
        (raising(lambda: None), "RuntimeError: it broke"),
        (raising(lambda: time.sleep(60)), "ScenarioTimeoutError: not done after 0 s"),
    ):
        assert run(failing) == 1
        printed = capsys.readouterr().out.rpartition("| fault |")[2]
        assert said in printed and "| second | 10 | 0 |" in printed


def test_a_skipped_row_is_shown_and_fails_only_a_run_of_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    skipped = scenario(skipped="no redis-server on the PATH")
    assert run(skipped) == 0
    assert "skipped: no redis-server on the PATH" in capsys.readouterr().out
    assert run(skipped, skipped) == 1


def test_rows_are_chosen_by_parts_of_their_names_and_written_as_json(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    never = scenario({"gap_s": float("inf")})
    assert run(never, None, "eco") == 0
    assert run(never, None, "--json", str(written)) == 1
    first, second = json.loads(written.read_text())
    assert first["measures"] == {"gap_s": None}
    assert first["missed"] and not second["missed"]
    with pytest.raises(SystemExit):
        run(never, None, "third")


def test_failures_are_shown_by_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    def failing(_context: ScenarioContext, name: str) -> ScenarioResult:
        return ScenarioResult(name, 9, Counter({"503": 2, "timeout": 1}), {"failed": 3, "gap_s": 0})

    assert run(FaultScenario(failing)) == 1
    assert "| 3 (2 503, 1 timeout) |" in capsys.readouterr().out


def test_every_scenario_has_bounds_of_known_measures_and_the_document_has_them() -> None:
    assert list(SCENARIOS) == list(BOUNDS)
    assert all(BOUNDS.values())
    assert {measure for of in BOUNDS.values() for measure in of} <= set(MEASURES)
    assert bounds_table() in (ROOT / "docs/reliability.md").read_text()
