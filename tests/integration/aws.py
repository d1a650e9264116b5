"""AWS at a free port: moto over HTTP, and faults of single operations on the wire before it."""

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
    """WSGI middleware. An operation is called such as `codebuild StartBuild`, `sns Publish`, `s3 Put`.

    Attributes:
        app: moto.
        calls: every operation that came, with its body.
        refused: operations that are answered 403 and not done.
        lost: operations that are done, and whose answer is lost, once each.
        silent: operations that are done, and whose answer comes only after `go_on`.
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
            raise RuntimeError("the answer is lost here")  # the client gets a 500 and asks again
        if operation in self.silent:
            go_on.wait(PATIENCE_S)
        return answer

    def point_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have all clients find this account: `point_at`."""
        point_at(self.endpoint, monkeypatch)

    def reset(self) -> None:
        """Let go what is held, work again, and forget everything."""
        self.refused.clear()
        self.silent.clear()
        self.go_on.set()
        self.go_on = Event()
        forget(self.endpoint)
        self.calls.clear()

    def bodies(self, operation: str) -> list[bytes]:
        """Of every call of an operation, in their order."""
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
    """An empty account."""
    wire = Wire(moto())
    with listening(wire) as wire.endpoint:
        try:
            yield wire
        finally:
            wire.go_on.set()  # or a held answer keeps the server from ending


def moto() -> Callable[..., Any]:
    """The WSGI application of all that moto knows of AWS.

    One request at a time: in S3 a conditional write is one step, moto looks first and writes then.
    """
    app: Callable[..., Any] = DomainDispatcherApplication(create_backend_app)
    turn = Lock()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with turn:
            return list(app(environ, start_response))

    return answer


@contextmanager
def listening(app: Callable[..., Any]) -> Iterator[str]:
    """Moto, or middleware before it, at a free port; its address. What it holds is forgotten at the end."""
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
    """Have boto3, pyarrow and MLflow find this account; the rest is invented: `tests.no_account`.

    MLflow keeps its client of an endpoint, and knows it only by its own variable.
    """
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", endpoint)


def forget(endpoint: str) -> None:
    """Empty the account; without this, what moto holds outlives the server."""
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=PATIENCE_S).close()
