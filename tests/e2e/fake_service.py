"""Fake of the service for the page's tests, with deterministic answers and failures on demand.

Every answer is a function of its text (`result_of`), so that a swapped or lost answer is detectable. A text
in `FAILURES` causes that failure. The page is served under the strictest policy that it must support, and
violations are recorded.

    python tests/e2e/fake_service.py 8700     # show the page without a model
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WEB = Path(__file__).resolve().parents[2] / "serve_app" / "http" / "web"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "web/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "web/style.css": ("style.css", "text/css; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; report-uri csp-report"
)
MAX_TOKENS = 32
GOOD = frozenset(["love", "lovely", "great", "good", "buy"])
BAD = frozenset(["ruined", "broke", "bad", "nobody", "worst"])

# text: status, problem+json, additional headers
FAILURES: dict[str, tuple[int, dict[str, Any], dict[str, str]]] = {
    "fail: 422": (
        422,
        {
            "title": "The request has the wrong shape",
            "detail": "1 field is not as expected.",
            "errors": [{"field": "inputs[1]", "message": "at most 10000 characters, got 12000"}],
        },
        {},
    ),
    "fail: 429": (
        429,
        {"title": "The queue is full", "detail": "640 texts wait in front of this one."},
        {"Retry-After": "3"},
    ),
    "fail: 503": (503, {"title": "Not ready", "detail": "The model is being loaded."}, {}),
    "fail: 401": (401, {"title": "An API key is needed", "detail": "Send it as a bearer token."}, {}),
}
NOT_JSON = "fail: gateway"
HANG_UP = "fail: hang up"
HOLD = "hold"
API_KEY = "open sesame"


def scores_of(text: str, labels: tuple[str, ...]) -> dict[str, float]:
    """Return scores that sum to one, from the text alone."""
    words = text.lower().replace(",", " ").split()
    lean = 1 + 6 * (sum(word in GOOD for word in words) - sum(word in BAD for word in words))
    noise = [1 + byte / 64 for byte in hashlib.shake_128(text.encode("utf-8", "replace")).digest(len(labels))]
    noise[0] *= 1.9**lean
    noise[1] *= 1.9**-lean
    return {label: value / sum(noise) for label, value in zip(labels, noise, strict=True)}


def result_of(text: str, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the answer to one text."""
    scores = scores_of(text, labels)
    label = max(scores, key=scores.__getitem__)
    tokens = len(text.split()) + 2
    return {
        "label": label,
        "score": scores[label],
        "scores": scores,
        "tokens": min(tokens, MAX_TOKENS),
        "truncated": tokens > MAX_TOKENS,
    }


@dataclass
class FakeService:
    """Requests to the running service, and settings of its behavior.

    Attributes:
        url: Address of the page, with a slash at its end.
        seen: The `inputs` of every received classify request, in order.
        violations: Violations of the content security policy that the browser reported.
        gate: While clear, a request with the text `hold` waits.
    """

    url: str = ""
    prefix: str = "/"
    labels: tuple[str, ...] = ("POSITIVE", "NEGATIVE")
    max_texts: int = 64
    max_chars: int = 10_000
    seen: list[list[str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def model(self) -> dict[str, Any]:
        return {
            "name": "sentiment",
            "version": "1.4.2",
            "labels": list(self.labels),
            "max_length": MAX_TOKENS,
            "device": "cpu",
            "dtype": "float32",
            "loaded_at": "2026-03-02T09:30:00Z",
            "uri": "builtin:",
            "limits": {
                "max_texts_per_request": self.max_texts,
                "max_body_bytes": 1_048_576,
                "max_chars_per_text": self.max_chars,
            },
        }

    def answer(self, texts: list[str]) -> dict[str, Any]:
        n = len(self.seen)
        return {
            "request_id": f"req-{n:04d}",
            "model": {"name": "sentiment", "version": "1.4.2"},
            "results": [result_of(text, self.labels) for text in texts],
            "timing": {"tokenize_ms": 0.2, "queue_ms": 0.3, "forward_ms": 1.6, "total_ms": 2.4},
        }


def _handler(service: FakeService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.removeprefix(service.prefix)
            if path == "v1/model":
                self.reply(200, json.dumps(service.model()), "application/json")
            elif path in FILES:
                name, kind = FILES[path]
                body = (WEB / name).read_text(encoding="utf-8")
                self.reply(200, body, kind, {"Content-Security-Policy": POLICY})
            else:
                self.problem(404, {"title": "Not found"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            path = self.path.removeprefix(service.prefix)
            if path == "csp-report":
                service.violations.append(body.decode())
                self.reply(204, "", "text/plain")
            elif path == "v1/classify":
                self.classify(json.loads(body)["inputs"])
            else:
                self.problem(404, {"title": "Not found"})

        def classify(self, texts: list[str]) -> None:
            service.seen.append(texts)
            if HOLD in texts:
                service.gate.wait(timeout=20)
            if HANG_UP in texts:
                self.close_connection = True
                return
            if NOT_JSON in texts:
                self.reply(502, "<html><h1>Bad Gateway</h1></html>", "text/html")
                return
            for i, text in enumerate(texts):
                if len(text) > service.max_chars:
                    message = f"at most {service.max_chars} characters, got {len(text)}"
                    errors = [{"field": f"inputs[{i}]", "message": message}]
                    self.problem(422, {"title": "The request has the wrong shape", "errors": errors})
                    return
                status, problem, headers = FAILURES.get(text, (0, {}, {}))
                if status == 401 and self.headers["authorization"] == f"Bearer {API_KEY}":
                    continue
                if status:
                    self.problem(status, problem, headers)
                    return
            self.reply(200, json.dumps(service.answer(texts)), "application/json")

        def problem(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
            body = {"type": "about:blank", "status": status, **body}
            headers = {"X-Request-ID": f"req-{len(service.seen):04d}", **(headers or {})}
            self.reply(status, json.dumps(body), "application/problem+json", headers)

        def reply(self, status: int, body: str, kind: str, headers: dict[str, str] | None = None) -> None:
            data = body.encode()
            self.send_response(status)
            for name, value in {"Content-Type": kind, **(headers or {})}.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(service: FakeService, port: int = 0) -> Iterator[FakeService]:
    """Run `service` on a local port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(service))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}{service.prefix}"
    try:
        yield service
    finally:
        service.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    with serving(FakeService(), int(sys.argv[1]) if len(sys.argv) > 1 else 8700) as running:
        print(f"{running.url}  (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
