"""The HTTP routes: from bytes to the service and back. `Service` is all they know of the replica."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from serve_app import openapi
from serve_app.auth import check_key
from serve_app.blank import is_blank
from serve_app.capture.capture import Capture
from serve_app.capture.records import Answered, Truth, now_us
from serve_app.errors import Invalid, NotFound, NotReady, QueueFull, ServiceError, TooLarge, excerpt
from serve_app.metrics import Metrics
from serve_app.pages import add_pages
from serve_app.problems import problem, refuse_route, request_id_of
from serve_app.protocols import oip
from serve_app.protocols.native import NATIVE, read_feedback
from serve_app.protocols.oip import OIP
from serve_app.protocols.sagemaker import SAGEMAKER
from serve_app.protocols.shape import Protocol, Question, to_json
from serve_app.protocols.tei import TEI
from serve_app.request_body import BodyReader
from serve_app.schemas import Limits, ModelInfo
from serve_app.service import Classified, Service
from serve_app.settings import Settings
from serve_app.shedding import shed_by

_log = logging.getLogger("ray.serve")

_SCORE_BYTES = 50
"""About what one label and its score take in an answer."""

Handler = Callable[[Request], Awaitable[Response]]


def build_api(
    service: Service, settings: Settings, metrics: Metrics, capture: Capture | None = None
) -> FastAPI:
    """The application with every route of the replica; what `capture` holds is written when it ends."""
    app = _Api(
        title="Sentiment service",
        description=openapi.describe(settings),
        docs_url=None,
        redoc_url=None,
        lifespan=capture.running if capture else None,
    )
    door = _Door(service, settings, metrics, capture)

    def ask(path: str, protocol: Protocol, doc: openapi.Doc) -> None:
        handler = door.guard(path, door.ask(path, protocol))
        app.add_api_route(path, handler, methods=["POST"], **doc)
        if "{" not in path:  # a path with a name in it is FastAPI's to take apart
            app.asked[path] = handler

    def tell(path: str, handler: Handler, summary: str, response_model: Any = None) -> None:
        app.add_api_route(path, door.guard(path, handler), summary=summary, response_model=response_model)

    ask("/v1/classify", NATIVE, openapi.classify(settings))
    app.add_api_route(
        "/v1/feedback", door.guard("/v1/feedback", door.feedback), methods=["POST"], **openapi.feedback()
    )
    tell("/v1/model", door.model, "What is live", response_model=ModelInfo)

    ask("/predict", TEI, openapi.predict())
    tell("/health", door.health, "Ready, as text-embeddings-inference says it")

    ask("/invocations", SAGEMAKER, openapi.invocations())
    tell("/ping", door.health, "Ready, as SageMaker asks it")

    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        ask(f"{path}/infer", OIP, openapi.infer())
        tell(path, door.metadata, "The model's metadata, Open Inference Protocol v2")
        tell(f"{path}/ready", door.health, "The model is ready, Open Inference Protocol v2")
    tell("/v2", door.server, "The server's metadata, Open Inference Protocol v2")
    tell("/v2/health/live", door.alive, "The process runs")
    tell("/v2/health/ready", door.health, "The model answers")

    shed_by(door.refuse)
    add_pages(app)
    app.add_exception_handler(HTTPException, refuse_route)
    return app


class _Api(FastAPI):
    """FastAPI, but for the routes that take texts: they are called at once.

    FastAPI's way to a handler costs about what the handlers here do, and gives them nothing: they read their
    bodies themselves and let no error out.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: dict[str, Handler] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path"):
            handler = self.asked.get(scope["path"])
            if handler is not None:
                response = await handler(Request(scope, receive))
                await response(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


class _Door:
    """What every route has in common: the key, the request id, the deadline, the limits, the errors."""

    def __init__(
        self, service: Service, settings: Settings, metrics: Metrics, capture: Capture | None
    ) -> None:
        self._service = service
        self._settings = settings
        self._metrics = metrics
        self._capture = capture
        self._asked: dict[str, re.Pattern[str]] = {}
        self._bodies = BodyReader(settings.max_body_bytes)

    def guard(self, route: str, handler: Handler) -> Handler:
        """The handler with its request named, its outcome counted, and its errors told as problems."""

        async def guarded(request: Request) -> Response:
            began = time.monotonic()
            request.state.began, request.state.id = began, request_id_of(request.headers)
            request.state.version = self._version()
            status = 499  # what stands if the client leaves and the call is cancelled
            try:
                response = await self._try(request, handler)
                status = response.status_code
            finally:
                self._metrics.request(route, status, time.monotonic() - began, version=request.state.version)
            return response

        return guarded

    def ask(self, route: str, protocol: Protocol) -> Handler:
        """The handler of a route that takes texts."""
        self._asked[route] = compile_path(route)[0]

        async def handle(request: Request) -> Response:
            check_key(request.headers, self._settings.api_keys)
            self._service.check_room()  # before the body is even read: a refusal must cost next to nothing
            deadline = request.state.began + self._timeout_s(request)
            self._check_model(request)
            body = await self._bodies.read(request, deadline=deadline)
            question = await self._bodies.run(len(body), protocol.decode, body, _media_type(request))
            self._check_texts(question)
            request.state.version = self._version()  # of the model that answers, or fails on it
            answer = await self._service.classify(question.texts, deadline=deadline)
            self._keep(request, question, answer)
            scores_bytes = _SCORE_BYTES * len(answer.results) * len(answer.model.labels)
            content, media_type = await self._bodies.run(
                scores_bytes, protocol.encode, question, answer, request.state.id
            )
            return Response(content, media_type=media_type, headers=_headers_of(answer))

        return handle

    def refuse(self, scope: Scope) -> Response | None:
        """The answer to a request with texts that the queue has no room for, or None; for `shedding`."""
        if scope["method"] != "POST":
            return None
        path = scope["path"]
        route = next((route for route, pattern in self._asked.items() if pattern.fullmatch(path)), None)
        if route is None:
            return None
        headers = Headers(scope=scope)
        try:
            check_key(headers, self._settings.api_keys)
            self._service.check_room()
        except QueueFull as error:
            self._metrics.shed(route, version=self._version())
            request_id = request_id_of(headers)
            response = problem(error, request_id)
            response.headers["x-request-id"] = request_id  # Serve, which does it else, is not asked
            return response
        except ServiceError:
            pass  # the route says so itself
        return None

    async def feedback(self, request: Request) -> Response:
        """Take what is said of earlier answers."""
        check_key(request.headers, self._settings.api_keys)
        if self._capture is None:
            raise NotFound("no feedback is kept here; set SENTIMENT_LOG_URI to keep predictions and feedback")
        body = await self._bodies.read(request, deadline=request.state.began + self._timeout_s(request))
        labels = self._service.live.labels
        items = await self._bodies.run(len(body), read_feedback, body, _media_type(request), labels)
        now = now_us()
        truths = [Truth(item.request_id, item.index, item.label, now, "api") for item in items]
        outcomes = self._capture.judged(truths)
        counts = {outcome: outcomes[outcome] for outcome in ("right", "wrong", "unknown")}
        content, media_type = to_json({"accepted": len(truths), **counts})
        return Response(content, 202, media_type=media_type)

    async def model(self, request: Request) -> Response:
        """What is live on this replica."""
        check_key(request.headers, self._settings.api_keys)
        limits = Limits.model_validate(self._settings, from_attributes=True)
        standing = asdict(self._service.standing)
        return JSONResponse({**asdict(self._service.live), **standing, "limits": limits.model_dump()})

    async def metadata(self, request: Request) -> Response:
        """The live model, in Open Inference Protocol's words."""
        check_key(request.headers, self._settings.api_keys)
        self._check_model(request)
        live = self._service.live
        return JSONResponse(oip.metadata(live.name, live.version, live.labels))

    async def server(self, _request: Request) -> Response:
        """This server, in Open Inference Protocol's words."""
        return JSONResponse(oip.SERVER)

    async def health(self, request: Request) -> Response:
        """Empty and 200 when the model answers."""
        self._check_model(request)
        self._service.check_health()
        return Response()

    async def alive(self, _request: Request) -> Response:
        """Empty and 200 whenever the process runs."""
        return Response()

    def _keep(self, request: Request, question: Question, answer: Classified) -> None:
        if self._capture is None:
            return
        self._capture.answered(
            Answered(
                request.state.id,
                now_us(),
                question.texts,
                question.segment,
                answer,
                1000 * (time.monotonic() - request.state.began),
                self._service.standing.role_of(answer.model),
            )
        )

    async def _try(self, request: Request, handler: Handler) -> Response:
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            raise
        except ServiceError as error:
            if error.status >= 500:
                _log.warning(
                    "request failed", extra={"request_id": request.state.id, "error_type": error.type}
                )
            response = problem(error, request.state.id)
        except Exception as error:  # the last resort: whatever it is, the caller gets an answer
            # Its message is not logged: it could hold the text. Its kind and place say where to look.
            place = _place(error)
            _log.error(
                "unexpected error",
                extra={"request_id": request.state.id, "error": repr(type(error)), "place": place},
            )
            response = problem(
                ServiceError("an unexpected error; report it with the request id"), request.state.id
            )
        return response

    def _version(self) -> str:
        try:
            return self._service.live.version
        except NotReady:
            return ""

    def _timeout_s(self, request: Request) -> float:
        given = request.headers.get("x-request-timeout-ms")
        if given is None:
            return self._settings.default_timeout_ms / 1000
        try:
            timeout_ms = float(given)
        except ValueError:
            timeout_ms = math.nan
        if not 0 < timeout_ms < math.inf:
            message = f"milliseconds above 0, got {excerpt(given)}"
            raise Invalid(
                f"X-Request-Timeout-Ms: {message}", [{"field": "X-Request-Timeout-Ms", "message": message}]
            )
        return timeout_ms / 1000

    def _check_model(self, request: Request) -> None:
        """A route that names a model means the live one."""
        if not request.path_params:
            return
        live = self._service.live
        if not request.path_params.items() <= {"name": live.name, "version": live.version}.items():
            raise NotFound(f"the live model is {live.name!r}, version {live.version!r}")

    def _check_texts(self, question: Question) -> None:
        texts, limits = question.texts, self._settings
        if not texts:
            raise Invalid("no text; send at least one", [{"field": "", "message": "at least one text"}])
        if len(texts) > limits.max_texts_per_request:
            raise TooLarge(
                f"{len(texts)} texts, a request may hold {limits.max_texts_per_request}; send several"
            )
        for index, text in enumerate(texts):
            if len(text) > limits.max_chars_per_text:
                raise TooLarge(
                    f"{question.place(index)} has {len(text)} characters, a text may have "
                    f"{limits.max_chars_per_text}; shorten it"
                )
            if is_blank(text):
                place, message = question.place(index), "a text that is not blank"
                raise Invalid(f"{place}: {message}", [{"field": place, "message": message}])


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _headers_of(answer: Classified) -> dict[str, str]:
    timing = answer.timing
    return {
        "x-model-version": answer.model.version,
        "server-timing": f"tokenize;dur={1000 * timing.tokenize_s:.2f}, "
        f"queue;dur={1000 * timing.queue_s:.2f}, forward;dur={1000 * timing.forward_s:.2f}",
    }


def _place(error: Exception) -> str:
    """File and line where an error arose."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
