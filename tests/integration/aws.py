"""AWS stand-in at a free port: moto over HTTP, with injected faults of single operations."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

PATIENCE_S = 60
_SERVICE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/")
_JSON_REFUSAL = b'{"__type": "AccessDeniedException", "message": "no"}'
_XML_REFUSAL = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
_S3 = {"GET": "Get", "HEAD": "Head", "PUT": "Put", "DELETE": "Delete", "POST": "Post"}


@dataclass
class Wire:
    """WSGI middleware that injects faults.

    Names of operations: `codebuild StartBuild`, `sns Publish`, `s3 Put`.

    Attributes:
        app: moto.
        calls: every received operation, with its body.
        refused: operations that are answered 403 and not executed.
        lost: operations that are executed, but whose answer is lost, once each.
        silent: operations that are executed, but whose answer waits for `go_on`.
    """

    app: Callable[..., Any]
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    go_on: Event = field(default_factory=Event)
    lock: Any = field(default_factory=Lock)
    endpoint: str = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        if length:  # a body sent in chunks has no length, and is left to moto
            environ["wsgi.input"] = io.BytesIO(body)
        operation, go_on = _operation(environ, body), self.go_on
        with self.lock:
            self.calls.append((operation, body))
        if operation in self.refused:
            start_response("403 Forbidden", [])
            return [_JSON_REFUSAL if "HTTP_X_AMZ_TARGET" in environ else _XML_REFUSAL]
        answer = list(self.app(environ, start_response))
        if operation in self.lost:
            self.lost.remove(operation)
            raise RuntimeError("the answer is lost here")  # the client receives a 500 and retries
        if operation in self.silent:
            go_on.wait(PATIENCE_S)
        return answer

    def point_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Configure all clients for this account: `point_at`."""
        point_at(self.endpoint, monkeypatch)

    def reset(self) -> None:
        """Release held answers, remove all faults, and empty the account."""
        self.refused.clear()
        self.silent.clear()
        self.go_on.set()
        self.go_on = Event()
        forget(self.endpoint)
        self.calls.clear()

    def bodies(self, operation: str) -> list[bytes]:
        """Return the bodies of all calls of an operation, in order."""
        return [body for name, body in self.calls if name == operation]


def _operation(environ: dict[str, Any], body: bytes) -> str:
    found = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
    service = found[1] if found else ""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return f"{service} {target.rpartition('.')[2]}"
    if service == "s3":
        return f"s3 {_S3[environ['REQUEST_METHOD']]}"
    if action := parse_qs(body.decode("latin-1")).get("Action"):
        return f"{service} {action[0]}"
    return f"{service} {environ['PATH_INFO'].rpartition('/')[2]}"


@contextmanager
def aws() -> Iterator[Wire]:
    """Yield an empty account."""
    wire = Wire(moto())
    with listening(wire) as wire.endpoint:
        try:
            yield wire
        finally:
            wire.go_on.set()  # otherwise a held answer keeps the server from ending


def moto() -> Callable[..., Any]:
    """Return the WSGI application with all services of moto.

    It processes one request at a time: in S3 a conditional write is atomic, whereas moto first checks and
    then writes.
    """
    app: Callable[..., Any] = DomainDispatcherApplication(create_backend_app)
    turn = Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with turn:
            return list(app(environ, start_response))

    return answer


@contextmanager
def listening(app: Callable[..., Any]) -> Iterator[str]:
    """Serve moto, or middleware in front of it, at a free port; yield its address.

    Its state is deleted at the end.
    """
    server = make_server("127.0.0.1", 0, app, threaded=True)
    endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        forget(endpoint)
        server.shutdown()
        thread.join()
        server.server_close()


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure boto3, pyarrow and MLflow for this account; other settings are invented: `tests.no_account`.

    MLflow caches its client of an endpoint, and reads the endpoint only from its own variable.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)


def forget(endpoint: str) -> None:
    """Empty the account; otherwise moto's state outlives the server."""
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=PATIENCE_S).close()
