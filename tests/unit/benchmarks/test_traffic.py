"""Tests of the request generator against a server that answers, changes labels, refuses, and disappears."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.chaos.traffic import RecordedRequest, RequestStream

PATIENCE_S = 10.0


@contextmanager
def server(answer: Callable[[int], tuple[int, str]]) -> Iterator[str]:
    """Run a server that answers the n-th request with a status and a label, and yield its address."""
    numbers = iter(range(10**9))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            number = next(numbers)
            status, label = answer(number)
            body = json.dumps({"results": [{"label": label}]}).encode()
            self.send_response(status)
            self.send_header("X-Request-ID", f"request-{number}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def wait_for(requests: list[RecordedRequest], number: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sum(request.done is not None for request in requests) < number:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_requests_are_due_at_the_rate_and_carry_their_ids() -> None:
    with server(lambda _: (200, "POSITIVE")) as url, RequestStream(url, ["fine", "bad"], 200) as traffic:
        wait_for(traffic.requests, 60)
    made = traffic.requests
    assert {request.outcome for request in made} == {"200"}
    assert {request.request_id for request in made} == {f"request-{number}" for number in range(len(made))}
    steps = [round(after.due - before.due, 6) for before, after in itertools.pairwise(made)]
    assert set(steps) == {0.005}
    # The event loop's timers have a resolution of milliseconds.
    assert all(request.sent > request.due - 0.002 for request in made)


def test_statuses_and_changed_answers_are_outcomes() -> None:
    def answer(number: int) -> tuple[int, str]:
        return (429 if number == 3 else 200), ("NEGATIVE" if number == 5 else "POSITIVE")

    with server(answer) as url, RequestStream(url, ["fine"], 100) as traffic:
        wait_for(traffic.requests, 20)
    counted = Counter(request.outcome for request in traffic.requests)
    assert (counted.pop("429"), counted.pop("wrong answer")) == (1, 1)
    assert set(counted) == {"200"}


def test_a_slow_server_delays_no_further_request_and_one_that_is_gone_fails_each() -> None:
    release = threading.Event()

    def answer(number: int) -> tuple[int, str]:
        if number == 0:
            release.wait(PATIENCE_S)
        return 200, "POSITIVE"

    with server(answer) as url:
        with RequestStream(url, ["fine"], 100) as traffic:
            wait_for(traffic.requests, 20)
            slow = [request for request in traffic.requests if request.done is None]
            release.set()
        assert len([request for request in slow if request.latency_s > 0.15]) == 1
    with RequestStream(url, ["fine"], 100) as traffic:
        wait_for(traffic.requests, 5)
    assert {request.outcome for request in traffic.requests} == {"ConnectionRefusedError"}
