"""Load-shedding middleware in front of Serve: sets request ids, and refuses requests while the queue is full.

Serve adds the middleware of `middlewares` to the HTTP server of every replica if the environment has
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.http.load_shedding:middlewares`. Without that variable or
without direct ingress, the routes refuse the same requests with the same responses, at several times the
cost, and an invalid X-Request-ID is replaced in body and log but not in the response header.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.http.problem_details import set_request_id

Rejector = Callable[[Scope], Response | None]
"""Returns the response to an HTTP request that must be refused now, otherwise None."""


class _Process:
    """The rejector of this process; a process runs one replica, so one is enough."""

    refuse: Rejector | None = None


def install_rejector(refuse: Rejector) -> None:
    """Install `refuse` as the check of every HTTP request to this process."""
    _Process.refuse = refuse


def middlewares() -> list[Middleware]:
    """Return the middleware that Serve adds to its HTTP server."""
    return [Middleware(LoadSheddingMiddleware)]


class LoadSheddingMiddleware:
    """ASGI middleware that sets the id of each request, and answers those that are refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        refusal = None
        if scope["type"] == "http":
            set_request_id(scope)
            refusal = _Process.refuse(scope) if _Process.refuse is not None else None
        await (refusal or self._app)(scope, receive, send)
