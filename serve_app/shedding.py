"""Load shedding: what the queue has no room for is refused before Serve and the routes spend time on it.

Serve lets middleware be put around the HTTP server of every replica: it calls `middlewares` where the
environment says `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve_app.shedding:middlewares`. Without that, and
without direct ingress, the routes refuse the same requests, with the same answers, at several times the cost.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

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
    """ASGI middleware that answers what is refused, and passes on all else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refuse = _Process.refuse
        refusal = refuse(scope) if refuse is not None and scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)
