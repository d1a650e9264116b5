"""Tests of the load test's report: the table and the JSON document."""

import json
from dataclasses import replace

from loadtest.config import LoadTestConfig
from loadtest.report import document, table
from loadtest.results import Observations
from loadtest.schedule import ArrivalRate
from loadtest.slo import SLO, evaluate_slo

HOST = "http://127.0.0.1:8000"
PLAN = LoadTestConfig(
    ArrivalRate(600, "poisson", 1), 5.0, 10.0, SLO(), ("a", "b"), "invented", owned=False, api_key="s3cret"
)
KEPT = Observations(
    pods=2,
    window_s=60.0,
    sent=1200,
    unsent=0,
    latencies_ms=tuple([20.0] * 1100 + [80.0] * 100),
    failures={},
    versions={"1.0.0": 900, "1.1.0": 300},
    answered_in_window=1199,
    tokens_in_window=60_000,
    lags_ms=tuple([0.5] * 1200),
)
BROKEN = Observations(
    pods=1,
    window_s=60.0,
    sent=600,
    unsent=0,
    latencies_ms=tuple([20.0] * 500),
    failures={"HTTP 429": 90, "timeout": 10},
    versions={"1.0.0": 500},
    answered_in_window=500,
    tokens_in_window=25_000,
    lags_ms=tuple([0.5] * 600),
)


def test_the_table_of_a_promise_kept() -> None:
    lines = table(HOST, PLAN, KEPT, evaluate_slo(KEPT, SLO())).splitlines()
    assert lines[-1] == "PASS"
    assert [line.split()[-1] for line in lines if line.startswith(("  p95", "  right", "  failed"))] == [
        "PASS"
    ] * 3
    text = "\n".join(lines)
    assert "2 pods" in text and "offered 600/min/pod (poisson)" in text
    assert "p50 20.0 ms  p95 80.0 ms  p99 80.0 ms" in text
    assert "599.5/min/pod" in text and "requests sent   1200 (600.0/min/pod)" in text
    assert "1.0.0: 900  1.1.0: 300" in text and "1000/s" in text


def test_the_table_of_a_promise_broken_names_failures_and_reasons() -> None:
    text = table(HOST, PLAN, BROKEN, evaluate_slo(BROKEN, SLO()))
    assert text.splitlines()[-1] == "FAIL"
    assert "HTTP 429: 90  timeout: 10" in text
    assert "no answer" in text and "16.67%" in text
    assert "answered p50 20.0 ms" in " ".join(text.split())
    assert "100 of 600 requests have no correct answer" in text


def test_a_warning_stands_in_the_table() -> None:
    few = replace(KEPT, sent=1000, unsent=200, latencies_ms=KEPT.latencies_ms[:1000], answered_in_window=1000)
    text = table(HOST, PLAN, few, evaluate_slo(few, SLO()))
    assert "warning: the load generator is saturated: it sent 1000 of 1200 scheduled requests" in text
    assert text.splitlines()[-1] == "PASS"


def test_the_document_is_json_without_infinities_or_keys() -> None:
    text = json.dumps(
        document(HOST, PLAN, BROKEN, evaluate_slo(BROKEN, SLO()), "2026-01-01T00:00:00+00:00"),
        allow_nan=False,
    )
    said = json.loads(text)
    assert said["passed"] is False and len(said["reasons"]) == 2 and said["warnings"] == []
    assert said["latency_ms"]["p95"] is None and said["answered_latency_ms"]["p95"] == 20.0
    assert [check["passed"] for check in said["checks"]] == [False, True, False]
    assert said["tokens_per_s"] == 25_000 / 60
    assert "s3cret" not in text
