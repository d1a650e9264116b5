"""Changes to the HAProxy configuration that Ray Serve writes: timeouts, error responses and addresses.

Ray 2.60 has variables for some of HAProxy's settings. The others are changed here line by line. A line that a
later version of Ray writes differently stays unchanged.
"""

from __future__ import annotations

import json
import re

HEAD_TIMEOUT_S = 10
"""`timeout http-request`: from the start of a request or a connection to the end of the request's headers."""
RETRY_AFTER_S = 2
"""Retry-After while no replica is ready, during the start or a replacement."""

_MEDIA_TYPE = "application/problem+json"
# Responses to incomplete request headers stay HTML: they are compiled into HAProxy 2.8.
_PROBLEMS = {
    400: ("bad-request", "The request is incomplete", "the body is incomplete; send the request again"),
    408: ("bad-request", "The request is incomplete", "the request timed out; send the request again"),
    502: (
        "replica-failed",
        "The replica failed",
        "the replica ended before it answered; send the request again",
    ),
    503: ("not-ready", "The service is not ready", f"no replica is ready; retry in {RETRY_AFTER_S} s"),
    504: ("deadline-exceeded", "The deadline passed", "the replica did not answer in time"),
}
_RETRIED = (502, 503)
_REQUEST_ID = "txn.request_id"


def has_backends(text: str) -> bool:
    """Return whether the configuration sends requests to any application."""
    return re.search(r"^\s*use_backend ", text, re.MULTILINE) is not None


def admin_socket(text: str) -> str | None:
    """Return the path of the configuration's admin socket."""
    found = re.search(r"^\s*stats socket (\S+)", text, re.MULTILINE)
    return found[1] if found else None


def with_admin_socket(text: str, path: str) -> str:
    """Return the configuration with another admin socket."""
    return re.sub(r"^(\s*stats socket )\S+", lambda line: line[1] + path, text, flags=re.MULTILINE)


def amended(
    text: str,
    *,
    max_connections: int,
    host: str | None,
    metrics_host: str | None,
    own_address: str | None = None,
) -> str:
    """Return the configuration with this service's timeouts, problem documents, addresses and health check.

    Args:
        text: Configuration that Ray wrote.
        max_connections: Maximum number of connections that the limit on open files allows.
        host: Address of the service; None keeps Ray's.
        metrics_host: Address of HAProxy's metrics; None keeps Ray's.
        own_address: Address of this node. The health check then succeeds only while a replica on this node
            is up, and not while any replica is: a pod whose only replicas are in other pods fails with them.
    """
    errors = [f"http-error {_reply(status)}" for status in _PROBLEMS]
    request_id = [
        f"http-request set-var({_REQUEST_ID}) uuid()",
        f"http-request set-var({_REQUEST_ID}) req.hdr(x-request-id) "
        "if { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._:/+=@-]{1,128}$ }",
    ]
    lines: list[str] = []
    section = ""
    for line in text.splitlines():
        words = line.split()
        if words and not line[0].isspace():
            section = " ".join(words[:2])
        match [section, *words]:
            case ["global", "maxconn", value]:
                line = f"    maxconn {min(int(value), max_connections)}"
            case ["defaults", "defaults"]:
                lines += [line, f"    timeout http-request {HEAD_TIMEOUT_S}s", *(f"    {e}" for e in errors)]
                continue
            case ["defaults", "timeout", "http-request", *_] | ["defaults", "errorfile", *_]:
                continue
            case ["frontend http_frontend", "acl", name, counted, "ge", "1"] if own_address and (
                of_backend := re.fullmatch(r"nbsrv\((\S+)\)", counted)
            ):
                lines += _own_server_up(text, name, of_backend[1], own_address)
                continue
            case ["frontend http_frontend", "bind", address, *rest]:
                lines += [_bind(address, host, rest), *(f"    {rule}" for rule in request_id)]
                continue
            case ["frontend prometheus", "bind", address, *rest]:
                line = _bind(address, metrics_host, rest)
            case ["listen stats", "bind", address, *rest]:
                line = _bind(address, "127.0.0.1", rest)
            case ["backend default_backend", "http-request", "return", "status", "404", *_]:
                line = f"    http-request return {_reply(503)}" if not has_backends(text) else line
            case [_, "server", *_, "backup"]:
                # The backup is Serve's own proxy, which would hold requests without limit until a replica is
                # ready.
                continue
        lines.append(line)
    return "\n".join(lines) + "\n"


def _own_server_up(text: str, acl: str, backend: str, address: str) -> list[str]:
    """Return the rules of an ACL that matches while a server of the backend with this address is up."""
    section = re.search(rf"^backend {re.escape(backend)}$(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    servers = re.findall(r"^\s+server (\S+) (\S+):\d+ (.*)", section[1] if section else "", re.MULTILINE)
    # Ray writes the replica of its own node as 127.0.0.1.
    own = [
        name
        for name, host, options in servers
        if host in (address, "127.0.0.1") and "backup" not in options.split()
    ]
    return [f"    acl {acl} srv_is_up({backend}/{name})" for name in own] or [f"    acl {acl} always_false"]


def _bind(address: str, host: str | None, rest: list[str]) -> str:
    port = address.rpartition(":")[2]
    return " ".join(["    bind", address if host is None else f"{host}:{port}", *rest])


def _reply(status: int) -> str:
    """Return status, body and headers in the syntax of `http-error` and `http-request return`."""
    kind, title, detail = _PROBLEMS[status]
    problem = {"type": f"urn:sentiment-service:{kind}", "title": title, "status": status, "detail": detail}
    # Clients of the Open Inference Protocol read `error`.
    problem |= {"error": detail, "request_id": f"%[var({_REQUEST_ID})]"}
    words = [f"status {status} content-type {_MEDIA_TYPE} lf-string '{json.dumps(problem)}'"]
    words += [f"hdr X-Request-ID %[var({_REQUEST_ID})]", "hdr Cache-Control no-store"]
    if status in _RETRIED:
        words.append(f"hdr Retry-After {RETRY_AFTER_S}")
    return " ".join(words)
