"""OpenAPI descriptions of the routes: request bodies with examples, responses, errors and limits."""

from __future__ import annotations

from typing import Any

from serve_app.http.protocols.open_inference import OipRequest, OipResponse
from serve_app.http.protocols.sagemaker import SageMakerRequest, SageMakerResponse
from serve_app.http.protocols.tei import TeiRequest, TeiResponse
from serve_app.http.protocols.vllm import VllmRequest, VllmResponse
from serve_app.http.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    FeedbackBody,
    FeedbackResponse,
    Problem,
)
from serve_app.settings import Settings

Doc = dict[str, Any]

_ERRORS = {
    400: "The body is not JSON, or cannot be decompressed.",
    401: "An API key is required, and the request has none or an unknown one.",
    408: "The deadline of X-Request-Timeout-Ms passed during the upload.",
    413: "The request is over a limit: bytes, texts, or characters of a text.",
    415: "The content type or content encoding is not supported.",
    422: "JSON of the wrong shape; `errors` lists each field and the expected value.",
    429: "The service is at capacity. Retry-After is the computed time until a retry should succeed.",
    500: "The model failed on this request.",
    503: "No model is loaded yet, or the replica is shutting down.",
    504: "The deadline of X-Request-Timeout-Ms passed.",
}

_HEADERS: list[Doc] = [
    {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Id of the request in the response and in the logs; generated if absent. Up to 128 "
        "visible ASCII characters.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "Deadline of the request in milliseconds; afterwards the response is 504.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Request-Priority",
        "in": "header",
        "description": "Class of the request. Interactive requests are served first; bulk requests use the "
        "remaining capacity and may wait longer. By default a request is interactive if it fits into one "
        "batch.",
        "schema": {"type": "string", "enum": ["interactive", "bulk"]},
    },
]

_TEXT = "I love this cream"


def describe(settings: Settings) -> str:
    """Return the description of the API, with the configured limits."""
    return (
        "Text classification. A request holds one or several texts; the results are in their order, all by "
        "one model.\n\n"
        f"Limits: {settings.max_texts_per_request} texts per request, {settings.max_chars_per_text:,} "
        f"characters per text, {settings.max_body_bytes:,} bytes per body; deadline: "
        f"{settings.default_timeout_ms:,} ms unless X-Request-Timeout-Ms sets another.\n\n"
        "Every error is an RFC 9457 problem (application/problem+json)."
    )


def classify(settings: Settings) -> Doc:
    """Describe POST /v1/classify."""
    schema = ClassifyRequest.model_json_schema()
    one, several = schema["properties"]["inputs"]["anyOf"]
    one["maxLength"] = settings.max_chars_per_text
    several["maxItems"] = settings.max_texts_per_request
    several["items"]["maxLength"] = settings.max_chars_per_text
    examples = {
        "several": {"value": {"inputs": [_TEXT, "It ruined my skin"]}},
        "one": {"value": {"inputs": _TEXT, "top_k": 1}},
    }
    return _ask("Classify texts", schema, examples) | {"response_model": ClassifyResponse}


def predict() -> Doc:
    """Describe POST /predict."""
    examples = {
        "one": {"value": {"inputs": _TEXT}},
        "batch": {"value": {"inputs": [[_TEXT], ["It ruined my skin"]]}},
    }
    doc = _ask("Classify texts, as text-embeddings-inference", TeiRequest.model_json_schema(), examples)
    return doc | {"response_model": TeiResponse}


def invocations() -> Doc:
    """Describe POST /invocations."""
    examples = {"several": {"value": {"inputs": [_TEXT, "It ruined my skin"], "parameters": {"top_k": 1}}}}
    doc = _ask("Classify texts, as SageMaker hosting", SageMakerRequest.model_json_schema(), examples)
    doc["openapi_extra"]["requestBody"]["content"] |= {
        "application/jsonlines": {
            "schema": {"type": "string"},
            "example": '{"inputs": "I love this cream"}\n',
        },
        "text/csv": {"schema": {"type": "string"}, "example": 'inputs\n"I love this cream"\n'},
        "text/plain": {"schema": {"type": "string"}, "example": _TEXT},
    }
    lines = {
        "application/jsonlines": {"schema": {"type": "string"}},
        "text/csv": {"schema": {"type": "string"}},
    }
    doc["responses"][200] = {"content": lines}
    message = "The Accept header allows none of JSON, JSON lines and CSV."
    doc["responses"][406] = {"model": Problem, "description": message}
    return doc | {"response_model": SageMakerResponse}


def classify_as_vllm() -> Doc:
    """Describe POST /classify."""
    examples = {"several": {"value": {"input": [_TEXT, "It ruined my skin"]}}}
    doc = _ask("Classify texts, as vLLM", VllmRequest.model_json_schema(), examples)
    doc["responses"][404] = {"model": Problem, "description": "`model` is not the live one."}
    return doc | {"response_model": VllmResponse}


def infer() -> Doc:
    """Describe POST /v2/models/{name}/infer."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [_TEXT]}
    examples = {"one": {"value": {"inputs": [tensor]}}}
    doc = _ask("Classify texts, as Open Inference Protocol v2", OipRequest.model_json_schema(), examples)
    return doc | {"response_model": OipResponse}


def feedback() -> Doc:
    """Describe POST /v1/feedback."""
    one = {"request_id": "5f0c", "index": 0, "label": "NEGATIVE"}
    schema = FeedbackBody.model_json_schema()
    examples = {"one": {"value": one}, "several": {"value": [one, one | {"index": 1}]}}
    doc = _ask("Report the true labels of classified texts", schema, examples)
    doc["responses"][404] = {"model": Problem, "description": "Feedback is not stored by this service."}
    return doc | {"response_model": FeedbackResponse, "status_code": 202}


def _ask(summary: str, schema: Doc, examples: Doc) -> Doc:
    """Return arguments of `add_api_route` for a route with a request body."""
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {
        "summary": summary,
        "response_model": None,
        "responses": {status: {"model": Problem, "description": text} for status, text in _ERRORS.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": content}, "parameters": _HEADERS},
    }
