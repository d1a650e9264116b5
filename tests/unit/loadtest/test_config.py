"""Tests of the load test's configuration: options, environment variables, and refused values."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.__main__ import main
from loadtest.config import LoadTestConfig, add_arguments, config_from
from loadtest.errors import ConfigError

ROOT = Path(__file__).parents[3]


def planned(*arguments: str, **environment: str) -> LoadTestConfig:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return config_from(parser.parse_args(arguments), environment)


def test_without_options_it_is_the_promise() -> None:
    plan = planned()
    assert (plan.pace.per_minute, plan.pace.kind) == (600, "poisson")
    assert (plan.slo.per_minute, plan.slo.p95_ms, plan.slo.failed_fraction) == (480, 100, 0)
    assert plan.texts_from == "invented" and not plan.owned and plan.headers == {}


def test_the_api_key_is_sent_and_never_shown() -> None:
    plan = planned(LOADTEST_API_KEY="s3cret")
    assert plan.headers == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(plan)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--per-minute", "0"],
        ["--per-minute", "nan"],
        ["--per-minute", "1e9"],
        ["--per-minute", "400"],  # below the SLO of 480, so that the test could never pass
        ["--warmup", "-1"],
        ["--timeout", "0"],
        ["--p95-ms", "0"],
        ["--max-failed-fraction", "1.5"],
        ["--min-per-minute", "0"],
    ],
)
def test_numbers_that_cannot_be_used_are_named(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="see --help"):
        planned(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["slo", "--duration", "0"],
        ["slo", "--duration", "9000"],
        ["slo", "--pods", "0"],
        ["slo", "--pods", "1000"],
        ["slo", "--json", "no/such/folder/slo.json"],
        ["slo", "--texts", "missing.txt"],
    ],
)
def test_a_test_that_cannot_run_is_exit_code_2_with_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("loadtest: ") and arguments[-1] in said.err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["slo", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for taught in ("make serve", "open-loop", "exit codes", "--i-own-this-host", "LOADTEST_API_KEY"):
        assert taught in said


def test_everything_but_the_driving_leaves_the_process_unpatched() -> None:
    pure = [
        "__main__",
        "config",
        "errors",
        "report",
        "request_log",
        "response_check",
        "results",
        "schedule",
        "slo",
        "synthetic_texts",
        "target",
        "texts",
    ]
    program = (
        f"import sys, {', '.join(f'loadtest.{name}' for name in pure)}; sys.exit('gevent' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
