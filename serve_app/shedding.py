"""The middleware in front of Serve: it names requests, and sheds what the queue has no room for.

Serve lets middleware be put around the HTTP server of every replica: it calls `middlewares` where the
environment says `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.shedding:middlewares`. Without that, and
without direct ingress, the routes refuse the same requests, with the same answers, at several times the cost,
and an X-Request-ID that is not valid is replaced in body and log alone.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.problems import name_request

Refuse = Callable[[Scope], Response | None]
"""The answer to an HTTP request that has no chance now, or None."""


class _Process:
    """What this process sheds by. A replica has a process to itself, so there is one of it."""

    refuse: Refuse | None = None


def shed_by(refuse: Refuse) -> None:
    """Ask `refuse` about every HTTP request to this process from now on."""
    _Process.refuse = refuse


def middlewares() -> list[Middleware]:
    """What Serve is to put around its HTTP server."""
    return [Middleware(Shedding)]


class Shedding:
    """ASGI middleware that names each request, answers what is refused, and passes on all else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refusal = None
        if scope["type"] == "http":
            name_request(scope)
            refusal = _Process.refuse(scope) if _Process.refuse is not None else None
        await (refusal or self._app)(scope, receive, send)
