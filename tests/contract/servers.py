"""The real application behind an in-process client, and as a TCP server for clients that speak HTTP."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.http.routes import build_api
from serve_app.metrics import Metrics
from serve_app.settings import Settings
from tests.contract.fake_replica import FakeReplica


@asynccontextmanager
async def in_process(replica: FakeReplica, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the real application in this process."""
    app = build_api(replica, settings, Metrics())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        yield client


@contextmanager
def over_tcp(app: ASGIApp) -> Iterator[str]:
    """Serve an application while the block runs, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:  # the backlog holds early clients
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class SageMakerRuntime:
    """Stand-in for SageMaker's InvokeEndpoint API in front of a container.

    It forwards the request to the container's /invocations without the caller's signature. A response that is
    not 2xx becomes a ModelError with the container's status and body:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """

    _PATH = re.compile(r"/endpoints/[^/]+/invocations")
    _PASSED_ON = ("content-type", "accept", "x-amzn-sagemaker-custom-attributes")

    def __init__(self, container: str) -> None:
        self._container = container

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        assert self._PATH.fullmatch(request.url.path), request.url.path
        headers = {name: request.headers[name] for name in self._PASSED_ON if name in request.headers}
        async with httpx.AsyncClient(base_url=self._container, timeout=60) as client:
            answer = await client.post("/invocations", content=await request.body(), headers=headers)
        response = Response(answer.content, media_type=answer.headers["content-type"])
        if not answer.is_success:
            error = {
                "OriginalStatusCode": answer.status_code,
                "OriginalMessage": answer.text,
                "Message": "Received an error from the container",
            }
            response = Response(json.dumps(error), 424, {"x-amzn-errortype": "ModelError"})
        await response(scope, receive, send)
