"""Request pipeline: the steps around every route's handler, from API key and deadline to errors and logs.

`RequestPipeline.infer` adds those of an inference route: admission, body, classification, encoding.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import Scope

from serve_app.batching.admission import Priority
from serve_app.errors import (
    InvalidRequestError,
    NotFoundError,
    NotReadyError,
    PayloadTooLargeError,
    QueueFullError,
    ServiceError,
    UnprocessableTextError,
    excerpt,
)
from serve_app.http.access_log import AccessLog
from serve_app.http.auth import Gate
from serve_app.http.blank import is_blank
from serve_app.http.problem_details import problem, request_id_of
from serve_app.http.protocols import open_inference_model as oip_model
from serve_app.http.protocols.base import DecodedRequest, Json, Protocol, invalid, to_json, too_many
from serve_app.http.protocols.native import read_feedback
from serve_app.http.request_body import BodyReader, declared_bytes
from serve_app.http.schemas import Limits
from serve_app.interface import LiveModel, PredictionBatch, Service
from serve_app.metrics import Kind, Metrics
from serve_app.prediction_log.logger import PredictionLogger
from serve_app.prediction_log.records import FeedbackRecord, PredictionRecord, now_us
from serve_app.settings import Settings

_log = logging.getLogger("ray.serve")

_SCORE_BYTES = 50
"""Approximate size in a response of one label with its score."""

Handler = Callable[[Request], Awaitable[Response]]


RouteOf = Callable[[Scope], str]
"""Returns the template of the route that matches a request."""


class RequestPipeline:
    """Steps common to every route: API key, request id, deadline, limits, errors, access log.

    Args:
        service: The replica.
        settings: Settings of the replica.
        metrics: Counts every request.
        prediction_logger: Stores predictions and feedback, or None.

    Attributes:
        statistics: Statistics of the requests that the live model has answered.
    """

    def __init__(
        self,
        service: Service,
        settings: Settings,
        metrics: Metrics,
        prediction_logger: PredictionLogger | None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._metrics = metrics
        self._prediction_logger = prediction_logger
        self._gate = Gate(settings)
        self._access_log = AccessLog(settings.access_log_fraction)
        self._inference_routes: dict[str, re.Pattern[str]] = {}
        self._bodies = BodyReader(settings.max_body_bytes)
        self.statistics = oip_model.LiveStatistics()

    @property
    def needs_key(self) -> bool:
        """Whether API keys are configured."""
        return self._gate.needs_key

    def admit(self, request: Request, route_of: RouteOf) -> Response | None:
        """Record the id and the API key of a request; return a response if the key is not accepted."""
        facts = request.scope.setdefault("state", {})  # the dictionary behind `request.state`
        facts["began"] = began = time.monotonic()
        facts["id"] = request_id_of(request.headers)
        facts["key_id"] = ""
        try:
            facts["key_id"] = self._gate.admit(request.scope)
        except ServiceError as error:
            facts["route"] = route = route_of(request.scope)
            seconds, version = time.monotonic() - began, self._version()
            self._metrics.request(route, error.status, seconds, version=version, kind="rejected")
            return problem(error, facts["id"])
        return None

    def end(self, request: Request, status: int, route_of: RouteOf) -> None:
        """Log a request that was answered, or whose client disconnected."""
        facts = request.scope["state"]
        if self._access_log.takes(facts["id"], status):
            route = facts["route"] if "route" in facts else route_of(request.scope)
            seconds = time.monotonic() - facts["began"]
            self._access_log.write(facts, method=request.method, route=route, status=status, total_s=seconds)

    def guard(self, route: str, handler: Handler) -> Handler:
        """Return the handler with its status and duration counted and its errors turned into responses."""

        async def guarded(request: Request) -> Response:
            began = request.state.began
            request.state.route, request.state.version = route, self._version()
            request.state.model_failed = False
            status = 499  # status if the client disconnects and the call is cancelled
            try:
                response = await self._try(request, handler)
                status = response.status_code
            finally:
                seconds, version = time.monotonic() - began, request.state.version
                kind = self._kind_of(route, status, request.state.model_failed)
                self._metrics.request(route, status, seconds, version=version, kind=kind)
            return response

        return guarded

    def infer(self, route: str, protocol: Protocol) -> Handler:
        """Return the handler of an inference route."""
        self._inference_routes[route] = compile_path(route)[0]

        async def handle(request: Request) -> Response:
            tenant, priority = request.state.key_id, _priority_of(request.headers)
            # Before the body is read, so that a refusal costs almost nothing.
            self._service.check_room(
                tenant=tenant, priority=priority, body_bytes=_decoded_bytes(request.headers)
            )
            deadline = request.state.began + self._timeout_s(request)
            self._check_model(request)
            body = await self._bodies.read(request, deadline=deadline)
            decoded = await self._bodies.run(len(body), self._decode, protocol, body, request.headers)
            request.state.texts = len(decoded.texts)
            request.state.version = self._version()  # also for requests on which the model fails
            try:
                answer = await self._service.classify(
                    decoded.texts, deadline=deadline, tenant=tenant, priority=priority
                )
            except UnprocessableTextError as error:
                request.state.model_failed = True
                raise error.at(decoded.place(error.index)) from error
            request.state.answer = answer
            self._keep(request, decoded, answer)
            self.statistics.add(answer, self._service.live, time.time())
            scores_bytes = _SCORE_BYTES * len(answer.results) * len(answer.model.labels)
            encoded = await self._bodies.run(scores_bytes, protocol.encode, decoded, answer, request.state.id)
            headers = {**_headers_of(answer), **encoded.headers}
            return Response(encoded.content, media_type=encoded.media_type, headers=headers)

        return handle

    def refuse(self, scope: Scope) -> Response | None:
        """Return the 429 response to an inference request that the queue has no room for, otherwise None."""
        if scope["method"] != "POST":
            return None
        path = scope["path"]
        route = next(
            (route for route, pattern in self._inference_routes.items() if pattern.fullmatch(path)), None
        )
        if route is None:
            return None
        headers, key_id = Headers(scope=scope), ""
        try:
            key_id = self._gate.identify(scope)
            priority, body_bytes = _priority_of(headers), _decoded_bytes(headers)
            self._service.check_room(tenant=key_id, priority=priority, body_bytes=body_bytes)
        except QueueFullError as error:
            version, request_id = self._version(), request_id_of(headers)
            self._metrics.shed(route, version=version)
            if self._access_log.takes(request_id, error.status):
                facts = {"id": request_id, "key_id": key_id, "version": version}
                self._access_log.write(facts, method="POST", route=route, status=error.status, total_s=0)
            response = problem(error, request_id)
            response.headers["x-request-id"] = request_id  # Serve sets it only on requests that reach it
            return response
        except ServiceError:
            pass  # the route reports it
        return None

    async def feedback(self, request: Request) -> Response:
        """Store feedback on earlier predictions."""
        if self._prediction_logger is None:
            raise NotFoundError(
                "feedback is not stored; set SENTIMENT_LOG_URI to store predictions and feedback"
            )
        body = await self._bodies.read(request, deadline=request.state.began + self._timeout_s(request))
        labels = self._service.live.labels
        items = await self._bodies.run(len(body), read_feedback, body, request.headers, labels)
        now = now_us()
        truths = [FeedbackRecord(item.request_id, item.index, item.label, now, "api") for item in items]
        outcomes = self._prediction_logger.record_feedback(truths)
        counts = {outcome: outcomes[outcome] for outcome in ("right", "wrong", "unknown")}
        encoded = to_json({"accepted": len(truths), **counts})
        return Response(encoded.content, 202, media_type=encoded.media_type)

    async def model(self, request: Request) -> Response:
        """Return the live model, the replica's status and its limits."""
        limits = Limits.model_validate(self._settings, from_attributes=True)
        status = asdict(self._service.status)
        live = self._service.live
        described = {**asdict(live), "answer_labels": live.answer_labels}
        return JSONResponse({**described, **status, "limits": limits.model_dump()})

    def about(self, build: Callable[[LiveModel], Json]) -> Handler:
        """Return the handler of a route that describes the live model."""

        async def handle(request: Request) -> Response:
            self._check_model(request)
            return JSONResponse(build(self._service.live))

        return handle

    def ready(self, build: Callable[[LiveModel], Json]) -> Handler:
        """Return the handler of a route that answers only while the replica is healthy."""

        async def handle(request: Request) -> Response:
            await self.health(request)
            return JSONResponse(build(self._service.live))

        return handle

    def always(self, body: Json) -> Handler:
        """Return the handler of a route with a constant response."""

        async def handle(_request: Request) -> Response:
            return JSONResponse(body)

        return handle

    async def health(self, request: Request) -> Response:
        """Return an empty 200 response if the replica is healthy."""
        self._check_model(request)
        self._service.check_health()
        return Response()

    def _keep(self, request: Request, decoded: DecodedRequest, answer: PredictionBatch) -> None:
        if self._prediction_logger is None:
            return
        self._prediction_logger.record_prediction(
            PredictionRecord(
                request.state.id,
                now_us(),
                decoded.texts,
                decoded.segment,
                answer,
                1000 * (time.monotonic() - request.state.began),
                self._service.status.role_of(answer.model),
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
        except Exception as error:  # an error that no class above covers must still be answered
            # Its message could hold the text, so only its type and source location are logged.
            place = _place(error)
            _log.error(
                "unexpected error",
                extra={"request_id": request.state.id, "error": repr(type(error)), "place": place},
            )
            response = problem(
                ServiceError("an unexpected error; report it with the request id"), request.state.id
            )
        return response

    def _kind_of(self, route: str, status: int, model_failed: bool) -> Kind:
        """The kind of a request to a route that ended with a status."""
        if route not in self._inference_routes:
            return "other"
        # No room, a client that left while it waited, a model that fails on a text: no fault of the caller.
        excused = model_failed or status in (429, 499)
        return "rejected" if 400 <= status < 500 and not excused else "inference"

    def _version(self) -> str:
        try:
            return self._service.live.version
        except NotReadyError:
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
            message = f"expected milliseconds above 0, got {excerpt(given)}"
            raise InvalidRequestError(
                f"X-Request-Timeout-Ms: {message}", [{"field": "X-Request-Timeout-Ms", "message": message}]
            )
        return timeout_ms / 1000

    def _check_model(self, request: Request) -> None:
        """Raise NotFoundError if the route names another model than the live one."""
        if not request.path_params:
            return
        live = self._service.live
        if not request.path_params.items() <= {"name": live.name, "version": live.version}.items():
            raise NotFoundError(f"the live model is {live.name!r}, version {live.version!r}")

    def _decode(self, protocol: Protocol, body: bytes, headers: Headers) -> DecodedRequest:
        """Decode a body and check it against the limits; truncate its texts if it requests that.

        It may run in any thread.

        Raises:
            ServiceError: As `Protocol.decode`; also for no text, a blank text, an activation or a model other
                than the live model's, or a text over the limit.
        """
        limits, live = self._settings, self._service.live
        decoded = protocol.decode(body, headers, limits.max_texts_per_request)
        if decoded.model not in (None, live.name):
            raise NotFoundError(f"the live model is {live.name!r}")
        for activation, place in decoded.activations.items():
            if activation != live.activation:
                message = f"the live model supports only {live.activation!r}"
                raise invalid([{"field": place, "message": message}])
        if not decoded.texts:
            raise InvalidRequestError(
                "no text; send at least one", [{"field": "", "message": "expected at least one text"}]
            )
        if len(decoded.texts) > limits.max_texts_per_request:
            raise too_many(limits.max_texts_per_request, str(len(decoded.texts)))
        if decoded.cut:
            texts = [
                text[: limits.max_chars_per_text] if decoded.is_cut(index) else text
                for index, text in enumerate(decoded.texts)
            ]
            decoded = replace(decoded, texts=texts)
        for index, text in enumerate(decoded.texts):
            if len(text) > limits.max_chars_per_text:
                raise PayloadTooLargeError(
                    f"{decoded.place(index)} has {len(text)} characters; expected at most "
                    f"{limits.max_chars_per_text}; shorten the text"
                )
            if is_blank(text):
                place, message = decoded.place(index), "expected a text that is not blank"
                raise InvalidRequestError(f"{place}: {message}", [{"field": place, "message": message}])
        return decoded


def _decoded_bytes(headers: Headers) -> int | None:
    """Return the size of the decompressed body, or None if it is unknown before the body is read."""
    return None if "content-encoding" in headers else declared_bytes(headers)


def _priority_of(headers: Headers) -> Priority | None:
    given = headers.get("x-request-priority")
    if given is None or given in ("interactive", "bulk"):
        return given  # type: ignore[return-value]
    message = f"expected interactive or bulk, got {excerpt(given)}"
    raise InvalidRequestError(
        f"X-Request-Priority: {message}", [{"field": "X-Request-Priority", "message": message}]
    )


def _headers_of(answer: PredictionBatch) -> dict[str, str]:
    timing = answer.timing
    return {
        "x-model-version": answer.model.version,
        "server-timing": f"tokenize;dur={1000 * timing.tokenize_s:.2f}, "
        f"queue;dur={1000 * timing.queue_s:.2f}, forward;dur={1000 * timing.forward_s:.2f}",
    }


def _place(error: Exception) -> str:
    """Return the source file and line that raised an error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
