"""Tests of `python -m loadtest slo` and the locustfile, as users run them, on services with one fault each.

The services are this file started as a program (`python test_loadtest.py KIND`), over real HTTP, in a
separate process; Locust patches its process and so never runs in pytest's.
"""

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.terminal import heed_terminal

ROOT = Path(__file__).parents[2]
QUICK = ["--per-minute", "2400", "--min-per-minute", "1500", "--p95-ms", "400", "--seed", "7"]
"""Options for 40 requests per second; the p95 is generous because other processes may share the cores."""


# ------------------------------------------------------------------ the services


class Service(ThreadingHTTPServer):
    """Service that follows the API, except for what `spoil` does to the n-th classification."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, spoil: Callable[["Service", int, dict[str, object]], int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spoil = spoil
        self.lock = threading.Lock()
        self.calls = 0
        self.open = threading.Event()
        self.open.set()


class Handler(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    version = "1.0.0"

    def do_GET(self) -> None:
        model = {"name": "fake", "version": self.version}
        self._answer(200, {"model": model, "calls": self.server.calls})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/classify" and asked["top_k"] == 1 and asked["inputs"].strip()
        result = {
            "label": "POSITIVE",
            "score": 0.9,
            "scores": {"POSITIVE": 0.9},
            "tokens": 7,
            "truncated": False,
        }
        with self.server.lock:
            self.server.calls += 1
            number = self.server.calls
            self.version = "1.0.0" if number % 4 else "1.1.0"
        said: dict[str, object] = {
            "request_id": self.headers["X-Request-ID"],
            "model": {"name": "fake", "version": self.version},
            "results": [result],
        }
        if self.server.spoil is wants_a_key:
            said["key"] = self.headers["Authorization"]
        status = self.server.spoil(self.server, number, said)
        self._answer(status, said)

    def _answer(self, status: int, said: dict[str, object]) -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Model-Version", self.version)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        pass


def good(service: Service, number: int, said: dict[str, object]) -> int:
    return 200


def stalls(service: Service, number: int, said: dict[str, object]) -> int:
    """Stop for one second in the middle, once, like a garbage collection or a swapped page."""
    if number == 50:
        service.open.clear()
        threading.Timer(1.0, service.open.set).start()
    service.open.wait()
    return 200


def refuses(service: Service, number: int, said: dict[str, object]) -> int:
    return 429 if number % 5 == 0 else 200


def miscounts(service: Service, number: int, said: dict[str, object]) -> int:
    if number % 5 == 0:
        said["results"] = []
    return 200


def mixes_up(service: Service, number: int, said: dict[str, object]) -> int:
    if number % 5 == 0:
        said["request_id"] = "of another caller"
    return 200


def hangs(service: Service, number: int, said: dict[str, object]) -> int:
    """Give no answer from the 40th call on."""
    if number >= 40:
        threading.Event().wait()
    return 200


def wants_a_key(service: Service, number: int, said: dict[str, object]) -> int:
    return 200 if said.pop("key") == "Bearer s3cret" else 401


def redirects(service: Service, number: int, said: dict[str, object]) -> int:
    return 307


# ------------------------------------------------------------------ the tests


@contextmanager
def running(kind: Callable[..., int]) -> Iterator[str]:
    """Start a service of this kind and yield its address when it is bound."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.test_loadtest", kind.__name__],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def slo(host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(
        "-m", "loadtest", "slo", "--host", host, "--warmup", "0.5", "--duration", "2.5", *QUICK, *arguments
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def calls(host: str) -> int:
    with urllib.request.urlopen(f"{host}/v1/model", timeout=5) as answer:
        return int(json.load(answer)["calls"])


def wait_until(holds: Callable[[], bool], within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it never came to hold"
        time.sleep(0.02)


def test_a_good_service_keeps_its_promise(tmp_path: Path) -> None:
    with running(good) as host:
        files = [str(tmp_path / name) for name in ("slo.json", "samples.jsonl")]
        done = slo(host, "--json", files[0], "--samples", files[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("PASS")
    for row in ("p95 latency", "right answers", "failed", "requests sent", "p50", "p99"):
        assert row in done.stdout
    said = json.loads((tmp_path / "slo.json").read_text())
    assert said["passed"] and said["failures"] == {} and said["pods"] == 1
    assert not any("saturated" in warning for warning in said["warnings"])
    assert said["window_s"] == 2.5
    assert sum(said["model_versions"].values()) == said["requests_sent"]
    assert set(said["model_versions"]) == {"1.0.0", "1.1.0"}
    assert 75 <= said["requests_sent"] <= 125  # 100 are expected; the number is drawn by seed
    assert said["tokens_per_s"] == pytest.approx(7 * said["answered_per_minute_per_pod"] / 60)
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len(samples) >= said["requests_sent"], "those of the warm-up, too"
    assert {sample["version"] for sample in samples} == {"1.0.0", "1.1.0"}
    assert {sample["failure"] for sample in samples} == {None}
    assert all(abs(time.time() - sample["due_s"]) < 600 for sample in samples), "Unix time"
    assert all(sample["due_s"] <= sample["sent_s"] <= sample["done_s"] for sample in samples)


def test_a_stall_of_a_second_breaks_the_promise_because_latency_counts_from_the_due_time(
    tmp_path: Path,
) -> None:
    with running(stalls) as host:
        done = slo(host, "--json", str(tmp_path / "slo.json"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "p95 is " in done.stdout and done.stdout.rstrip().endswith("FAIL")
    said = json.loads((tmp_path / "slo.json").read_text())
    # a caller that waits for its answer would have sent one slow request of 100, and seen a p95 of a few ms
    assert 500 < said["latency_ms"]["p95"] < 1500
    assert said["failures"] == {}
    assert [check["passed"] for check in said["checks"]] == [False, True, True]


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        (refuses, "HTTP 429"),
        (miscounts, "answer: wrong number of results"),
        (mixes_up, "answer: another request's id"),
    ],
)
def test_failures_are_counted_by_what_went_wrong(
    kind: Callable[..., int], failure: str, tmp_path: Path
) -> None:
    with running(kind) as host:
        done = slo(host, "--json", str(tmp_path / "slo.json"))
    assert done.returncode == 1, done.stdout + done.stderr
    said = json.loads((tmp_path / "slo.json").read_text())
    assert list(said["failures"]) == [failure]
    assert said["failures"][failure] == pytest.approx(said["requests_sent"] / 5, abs=2)
    assert f"{failure}: {said['failures'][failure]}" in done.stdout
    assert said["latency_ms"]["p95"] is None  # a fifth has no answer, so 95 of 100 were never answered
    assert said["answered_latency_ms"]["p95"] < 400
    assert "no answer" in done.stdout


def test_a_service_that_hangs_does_not_hold_the_test_up_nor_the_arrivals(tmp_path: Path) -> None:
    with running(hangs) as host:
        done = slo(host, "--timeout", "1", "--json", str(tmp_path / "slo.json"))
    assert done.returncode == 1, done.stdout + done.stderr
    said = json.loads((tmp_path / "slo.json").read_text())
    assert list(said["failures"]) == ["timeout"]
    assert said["requests_sent"] >= 75  # sent on time although none was answered
    assert said["generator_late_ms"]["p99"] < 400


def test_a_load_generator_that_cannot_keep_its_schedule_is_named(tmp_path: Path) -> None:
    # 4,000 requests per second, of which one process can send only a fraction
    many = ["--pods", "4", "--per-minute", "60000", "--min-per-minute", "60000", "--timeout", "1"]
    with running(good) as host:
        done = slo(host, *many, "--duration", "1", "--json", str(tmp_path / "slo.json"))
    assert done.returncode == 1, done.stdout + done.stderr
    said = json.loads((tmp_path / "slo.json").read_text())
    assert "the load generator is saturated: it sent " in said["warnings"][0]
    assert f"warning: {said['warnings'][0]}" in done.stdout


def test_a_redirect_is_a_failure_and_is_not_followed(tmp_path: Path) -> None:
    with running(redirects) as host:
        slo(host, "--duration", "1", "--json", str(tmp_path / "slo.json"))
    assert list(json.loads((tmp_path / "slo.json").read_text())["failures"]) == ["HTTP 307"]


def test_an_api_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(wants_a_key) as host:
        without = slo(host, "--duration", "1")
        monkeypatch.setenv("LOADTEST_API_KEY", "s3cret")
        with_key = slo(host, "--duration", "1")
    assert (without.returncode, with_key.returncode) == (1, 0), without.stdout + with_key.stdout
    assert "HTTP 401: " in without.stdout
    assert "s3cret" not in with_key.stdout + with_key.stderr


def test_no_service_is_exit_code_2_with_the_next_step() -> None:
    with running(good) as host:
        pass  # its port is free again
    done = slo(host)
    assert done.returncode == 2
    assert "make serve" in done.stderr and "Traceback" not in done.stderr


def test_a_strangers_host_is_refused_before_anything_is_sent() -> None:
    done = slo("http://192.0.2.1:8000")
    assert done.returncode == 2
    assert "--i-own-this-host" in done.stderr and "192.0.2.1" in done.stderr


def test_ctrl_c_ends_without_a_verdict_or_a_traceback() -> None:
    command = [sys.executable, "-m", "loadtest", "slo", "--duration", "60"]
    with (
        running(good) as host,
        subprocess.Popen(
            [*command, "--host", host],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_terminal,
        ) as process,
    ):
        assert process.stderr is not None
        assert "measured" in process.stderr.readline()  # it is about to send
        time.sleep(
            1
        )  # nothing is printed when the first request is sent; an interrupt on either side must end cleanly
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "interrupted" in err and "Traceback" not in err and "PASS" not in out


@pytest.mark.parametrize(("kind", "code", "mark"), [(good, 0, "PASS"), (refuses, 1, "FAIL")])
def test_locusts_own_command_ends_with_the_same_verdict(
    kind: Callable[..., int], code: int, mark: str
) -> None:
    with running(kind) as host:
        arguments = ["-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--host", host]
        done = run(*arguments, "--run-time", "3s", "--warmup", "0.5", *QUICK)
    assert done.returncode == code, done.stdout + done.stderr
    assert "p95 latency" in done.stdout and f"\n{mark}\n" in done.stdout


def test_locusts_own_command_refuses_a_strangers_host() -> None:
    done = run(
        "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--host", "http://192.0.2.1", "-t", "1s"
    )
    assert done.returncode == 2
    assert "--i-own-this-host" in done.stderr


if __name__ == "__main__":
    with Service(globals()[sys.argv[1]]) as service:
        print(f"http://127.0.0.1:{service.server_port}", flush=True)
        service.serve_forever()
