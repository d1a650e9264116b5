"""Tests of the cost of one request: the worst bodies and headers at the size limit, on every route."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.worst_cases import Cost

LIMIT_BYTES = 1 << 20
MAX_GAP_MS = 50
MAX_PEAK_BYTES = 20 * LIMIT_BYTES
MAX_ERROR_BYTES = 16_000
MAX_ANSWER_BYTES = 256_000
"""Limit for responses such as the OpenAPI document, and the results of 64 texts."""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> list[Cost]:
    """Return the cost of every case, measured in processes that only run the cases of one group."""
    module, log = "tests.contract.worst_cases", str(tmp_path_factory.mktemp("log"))
    command = [sys.executable, "-m", module, str(LIMIT_BYTES), log]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-2000:]
    return [Cost(**json.loads(line)) for line in run.stdout.splitlines()]


def test_every_route_has_cases(costs: list[Cost]) -> None:
    groups = {cost.group for cost in costs}
    for expected in (
        "POST /v1/classify application/json",
        "POST /v1/feedback application/json",
        "POST /predict application/json",
        "POST /invocations text/csv",
        "POST /invocations application/jsonlines",
        "POST /v2/models/{name}/infer application/json",
        "GET /v1/model",
    ):
        assert expected in groups
    assert {200, 202, 400, 404, 413, 415, 422} <= {cost.status for cost in costs}


def test_no_request_blocks_the_event_loop(costs: list[Cost]) -> None:
    assert not [cost for cost in costs if cost.gap_ms > MAX_GAP_MS]


def test_no_request_takes_more_than_20_times_its_size(costs: list[Cost]) -> None:
    assert not [cost for cost in costs if cost.peak_bytes > MAX_PEAK_BYTES]


def test_no_request_is_an_error_of_the_service(costs: list[Cost]) -> None:
    assert not [cost for cost in costs if cost.status not in (200, 202) and not 400 <= cost.status < 500]


def test_no_answer_repeats_what_was_sent(costs: list[Cost]) -> None:
    assert not [cost for cost in costs if cost.status >= 400 and cost.answer_bytes > MAX_ERROR_BYTES]
    assert not [cost for cost in costs if cost.answer_bytes > MAX_ANSWER_BYTES]
