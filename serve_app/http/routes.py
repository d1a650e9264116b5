"""HTTP routes of the replica. They use the replica through `Service` only."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from serve_app.http import openapi, openapi_document
from serve_app.http.load_shedding import install_rejector
from serve_app.http.pipeline import Handler, RequestPipeline
from serve_app.http.problem_details import refuse_route
from serve_app.http.protocols import open_inference_model as oip_model
from serve_app.http.protocols import sagemaker, tei
from serve_app.http.protocols.base import Protocol
from serve_app.http.protocols.native import NATIVE
from serve_app.http.protocols.open_inference import OIP
from serve_app.http.protocols.sagemaker import SAGEMAKER
from serve_app.http.protocols.tei import TEI
from serve_app.http.protocols.vllm import VLLM
from serve_app.http.schemas import ModelInfo
from serve_app.http.ui import add_pages
from serve_app.interface import Service
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import PredictionLogger
from serve_app.settings import Settings


def build_api(
    service: Service, settings: Settings, metrics: Metrics, prediction_logger: PredictionLogger | None = None
) -> FastAPI:
    """Return the application with every route; its shutdown flushes `prediction_logger`."""
    pipeline = RequestPipeline(service, settings, metrics, prediction_logger)
    app = _Api(
        pipeline,
        title="Sentiment service",
        description=openapi.describe(settings),
        docs_url=None,
        redoc_url=None,
        lifespan=prediction_logger.running if prediction_logger else None,
    )

    def add_inference_route(path: str, protocol: Protocol, doc: openapi.Doc) -> None:
        handler = pipeline.guard(path, pipeline.infer(path, protocol))
        app.add_api_route(path, handler, methods=["POST"], **doc)
        if "{" not in path:  # FastAPI parses paths with parameters
            app.direct_handlers[path] = handler

    def add_get_route(
        path: str, handler: Handler, summary: str, response_model: Any = None, method: str = "GET"
    ) -> None:
        guarded = pipeline.guard(path, handler)
        app.add_api_route(path, guarded, summary=summary, response_model=response_model, methods=[method])
        if method == "GET":  # health checks use HEAD
            app.add_api_route(path, guarded, methods=["HEAD"], include_in_schema=False)

    add_inference_route("/v1/classify", NATIVE, openapi.classify(settings))
    app.add_api_route(
        "/v1/feedback",
        pipeline.guard("/v1/feedback", pipeline.feedback),
        methods=["POST"],
        **openapi.feedback(),
    )
    add_get_route("/v1/model", pipeline.model, "Live model and replica status", response_model=ModelInfo)

    for path in ("/predict", "/"):
        add_inference_route(path, TEI, openapi.predict())
    add_get_route("/health", pipeline.health, "Readiness, as text-embeddings-inference")
    about = pipeline.about(lambda live: tei.info(live, settings))
    add_get_route("/info", about, "Model and limits, as text-embeddings-inference", tei.TeiInfo)

    add_inference_route("/invocations", SAGEMAKER, openapi.invocations())
    add_get_route("/ping", pipeline.health, "Readiness, as SageMaker hosting")
    summary = "Parameters for batch transform, as SageMaker hosting"
    parameters = sagemaker.execution_parameters(settings)
    add_get_route(
        "/execution-parameters", pipeline.always(parameters), summary, sagemaker.ExecutionParameters
    )

    add_inference_route("/classify", VLLM, openapi.classify_as_vllm())

    statistics = pipeline.about(pipeline.statistics.to_json)
    # Before the routes with a model's name in the path: "stats" is not a model's name here.
    add_get_route(
        "/v2/models/stats", statistics, "The live model's statistics, as Triton", oip_model.OipStatistics
    )
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        add_inference_route(f"{path}/infer", OIP, openapi.infer())
        metadata, config = pipeline.about(oip_model.metadata), pipeline.about(oip_model.config)
        ready = pipeline.ready(oip_model.ready)
        add_get_route(
            path, metadata, "The model's metadata, Open Inference Protocol v2", oip_model.OipModelMetadata
        )
        add_get_route(
            f"{path}/config", config, "The model's configuration, as Triton", oip_model.OipModelConfig
        )
        add_get_route(
            f"{path}/stats", statistics, "The model's statistics, as Triton", oip_model.OipStatistics
        )
        add_get_route(
            f"{path}/ready", ready, "The model is ready, Open Inference Protocol v2", oip_model.OipModelReady
        )
    server, alive = pipeline.always(oip_model.SERVER), pipeline.always({"live": True})
    ready, index = pipeline.ready(lambda _: {"ready": True}), pipeline.about(oip_model.index)
    add_get_route("/v2", server, "The server's metadata, Open Inference Protocol v2", oip_model.OipServer)
    add_get_route("/v2/health/live", alive, "Liveness, Open Inference Protocol v2", oip_model.OipLive)
    add_get_route("/v2/health/ready", ready, "Readiness, Open Inference Protocol v2", oip_model.OipReady)
    add_get_route(
        "/v2/repository/index", index, "The models, as Triton", list[oip_model.OipIndexEntry], "POST"
    )

    install_rejector(pipeline.refuse)
    add_pages(app)
    app.add_exception_handler(HTTPException, refuse_route)
    return app


class _Api(FastAPI):
    """FastAPI application behind the pipeline; inference routes are called without FastAPI's routing.

    FastAPI's routing costs about as much as these handlers, and they do not need it: they read their bodies
    themselves and never raise.
    """

    def __init__(self, pipeline: RequestPipeline, **options: Any) -> None:
        super().__init__(**options)
        self.direct_handlers: dict[str, Handler] = {}
        self._pipeline = pipeline

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            openapi_document.complete(super().openapi(), needs_key=self._pipeline.needs_key)
        assert self.openapi_schema is not None
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        status = 499  # status if the client disconnects and the call is cancelled
        response = self._pipeline.admit(request, self._route_of)
        try:
            if response is None and scope["method"] == "POST" and not scope.get("root_path"):
                handler = self.direct_handlers.get(scope["path"])
                response = None if handler is None else await handler(request)
            if response is not None:
                await response(scope, receive, send)
                status = response.status_code
                return

            async def send_noting_status(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            # A copy, because Starlette modifies the scope and `end` needs the original one.
            await super().__call__({**scope}, receive, send_noting_status)
        finally:
            self._pipeline.end(request, status, self._route_of)

    def _route_of(self, scope: Scope) -> str:
        """Return the template of the route that matches a request, or "" if none does."""
        found = (route for route in self.routes if route.matches(scope)[0] is not Match.NONE)
        return str(getattr(next(found, None), "path", ""))
