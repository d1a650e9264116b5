"""Tests of the comparison with peers: the order of the turns, the tables, and one real peer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.peers import answers, table
from benchmarks.peers.catalog import OURS, PEERS, PeerSpec
from benchmarks.peers.environments import ROOT, PeerError
from benchmarks.peers.rounds import LoadCase, Measurement, measure, turns
from benchmarks.peers.server import start

MIXED_1, MIXED_8 = LoadCase("mixed", 1), LoadCase("mixed", 8)
ECHO = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        text = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"]
        body = json.dumps({"scores": {"NEGATIVE": 0.25, "POSITIVE": 0.75}}).encode()
        self.send_response(200 if text else 400)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def measurement(rate: float, p50_ms: float | None = 10.0, failures: int = 0) -> Measurement:
    return Measurement(rate, p50_ms, p50_ms, failures, 500.0, p50_ms)


def test_every_peer_has_one_turn_per_case_in_each_round() -> None:
    peers = ["a", "b", "c"]
    for number in range(4):
        order = list(turns(peers, [MIXED_1, MIXED_8], number))
        assert [turn.case for turn in order] == 3 * [MIXED_1] + 3 * [MIXED_8]
        assert sorted(turn.peer for turn in order[:3]) == sorted(turn.peer for turn in order[3:]) == peers


def test_the_rounds_begin_with_different_peers() -> None:
    assert {next(turns(["a", "b", "c"], [MIXED_1], number)).peer for number in range(3)} == {"a", "b", "c"}


def test_a_row_has_medians_the_range_and_the_ratio_of_the_rounds() -> None:
    # The machine is twice as fast in the second round: the ratio is the same in all rounds.
    ours = [measurement(rate) for rate in (100, 200, 110)]
    other = [measurement(rate, failures=1) for rate in (50, 100, 55)]
    rows = list(table.speed({MIXED_8: {"ours": ours, "other": other}}, "ours"))
    assert rows[0] == "mixed texts, 8 connections"
    assert "| ours | 110 (100-200) | 1.00 | 10.0 | 10 | 0 | 500 | 10.0 |" in rows
    assert "| other | 55 (50-100) | 2.00 | 10.0 | 10 | 3 | 500 | 10.0 |" in rows


def test_a_peer_that_answered_nothing_has_no_latency_and_no_ratio() -> None:
    silent = [measurement(0, None, failures=8)]
    rows = list(table.speed({MIXED_8: {"ours": [measurement(100)], "silent": silent}}, "ours"))
    assert "| silent | 0 (0-0) |  | - | - | 8 | 500 | - |" in rows


def test_the_ratio_is_absent_without_the_base() -> None:
    rows = list(table.speed({MIXED_8: {"other": [measurement(50)]}}, "ours"))
    assert any(row.startswith("| other | 50 (50-50) |  |") for row in rows)


def test_answers_are_compared_by_label_and_score() -> None:
    expected = [{"A": 0.9, "B": 0.1}, {"A": 0.4, "B": 0.6}]
    of = answers.compare([{"B": 0.12, "A": 0.88}, {"A": 0.55, "B": 0.45}], expected)
    assert (of.texts, of.equal_labels) == (2, 1)
    assert of.max_difference == pytest.approx(0.15)
    assert "| other | 1 of 2 | 0.150 |" in table.agreement({"other": of}, {})


def test_a_peer_that_did_not_run_is_reported_with_its_reason() -> None:
    assert "| other | not run: pip failed: a/b | |" in table.agreement({}, {"other": "pip failed: a|b"})


def test_the_catalog_has_distinct_names_and_pinned_requirements() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert PEERS[0].name == OURS
    for peer in PEERS:
        if peer.environment:
            lines = (ROOT / peer.requirements).read_text().split()
            assert lines and all("==" in line for line in lines)


def test_a_server_is_measured_and_ended(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    peer = PeerSpec("echo", "answers the same to every text", (str(tmp_path / "echo.py"), "{port}"))
    server = start(peer, Path(sys.executable), tmp_path, tmp_path, "text")
    try:
        assert answers.ask(server, ["a", "b"]) == 2 * [{"NEGATIVE": 0.25, "POSITIVE": 0.75}]
        measured = measure(server, ["text"], connections=2, seconds=1.2)
        assert measured.rate > 0 and measured.failures == 0
        assert measured.p50_ms is not None and measured.rss_mb > 1
        refused = measure(server, [""], connections=1, seconds=1.1)
        assert refused.rate == 0 and refused.failures > 0 and refused.p50_ms is None
    finally:
        server.end()
    assert server.rss_mb == 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no such model')", r"exit code 1: no such model"),
        (ECHO.replace('"scores"', '"logits"', 1), r"another form: KeyError\('scores'\)"),
    ],
)
def test_a_server_that_does_not_answer_as_expected_is_an_error(
    tmp_path: Path, code: str, reason: str
) -> None:
    (tmp_path / "broken.py").write_text(code)
    peer = PeerSpec("broken", "does not work", (str(tmp_path / "broken.py"), "{port}"))
    with pytest.raises(PeerError, match=reason):
        start(peer, Path(sys.executable), tmp_path, tmp_path, "text")
