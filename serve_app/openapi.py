"""What the OpenAPI document says of each route: bodies with examples, answers, errors, limits in force."""

from __future__ import annotations

from typing import Any

from serve_app.protocols.oip import OipRequest, OipResponse
from serve_app.protocols.sagemaker import SageMakerRequest, SageMakerResponse
from serve_app.protocols.tei import TeiRequest, TeiResponse
from serve_app.protocols.vllm import VllmRequest, VllmResponse
from serve_app.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    Feedback,
    FeedbackList,
    FeedbackResponse,
    Problem,
)
from serve_app.settings import Settings

Doc = dict[str, Any]

_ERRORS = {
    400: "The body is not JSON, or does not decompress.",
    401: "An API key is needed and none that is known was sent.",
    408: "The deadline of X-Request-Timeout-Ms passed during the upload.",
    413: "Over a limit: bytes, texts, or characters of a text.",
    415: "The content type or content encoding is not read here.",
    422: "JSON of the wrong shape; `errors` says which field, and what was expected.",
    429: "At capacity. Retry-After says, computed from the queue, when to come again.",
    500: "The model failed on this request.",
    503: "No model is loaded yet, or the replica is going away.",
    504: "The deadline of X-Request-Timeout-Ms passed first.",
}

_HEADERS: list[Doc] = [
    {
        "name": "X-Request-ID",
        "in": "header",
        "description": "Names the request in the answer and in the logs; made if absent. Up to 128 "
        "visible ASCII characters.",
        "schema": {"type": "string"},
    },
    {
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "After so many milliseconds nobody waits for the answer any more; it is then 504.",
        "schema": {"type": "number", "exclusiveMinimum": 0},
    },
    {
        "name": "X-Request-Priority",
        "in": "header",
        "description": "Interactive requests go first; bulk requests take what they leave and may wait "
        "longer. By default a request is interactive if it fits into one batch.",
        "schema": {"type": "string", "enum": ["interactive", "bulk"]},
    },
]

_TEXT = "I love this cream"


def describe(settings: Settings) -> str:
    """The head of the document: what it is, and the limits in force."""
    return (
        "Text classification. One request may hold several texts; answers come in their order, all by one "
        "model.\n\n"
        f"Limits: {settings.max_texts_per_request} texts a request, {settings.max_chars_per_text:,} "
        f"characters a text, {settings.max_body_bytes:,} bytes a body, {settings.default_timeout_ms:,} ms "
        "unless X-Request-Timeout-Ms says less or more.\n\n"
        "Every error is an RFC 9457 problem (application/problem+json)."
    )


def classify(settings: Settings) -> Doc:
    """POST /v1/classify."""
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
    """POST /predict."""
    examples = {
        "one": {"value": {"inputs": _TEXT}},
        "batch": {"value": {"inputs": [[_TEXT], ["It ruined my skin"]]}},
    }
    doc = _ask("Classify texts, as text-embeddings-inference", TeiRequest.model_json_schema(), examples)
    return doc | {"response_model": TeiResponse}


def invocations() -> Doc:
    """POST /invocations."""
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
    doc["responses"][406] = {"model": Problem, "description": "Accept has none of JSON, JSON lines and CSV."}
    return doc | {"response_model": SageMakerResponse}


def classify_as_vllm() -> Doc:
    """POST /classify."""
    examples = {"several": {"value": {"input": [_TEXT, "It ruined my skin"]}}}
    doc = _ask("Classify texts, as vLLM", VllmRequest.model_json_schema(), examples)
    doc["responses"][404] = {"model": Problem, "description": "`model` is not the live one."}
    return doc | {"response_model": VllmResponse}


def infer() -> Doc:
    """POST /v2/models/{name}/infer."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [_TEXT]}
    examples = {"one": {"value": {"inputs": [tensor]}}}
    doc = _ask("Classify texts, as Open Inference Protocol v2", OipRequest.model_json_schema(), examples)
    return doc | {"response_model": OipResponse}


def feedback() -> Doc:
    """POST /v1/feedback."""
    one = {"request_id": "5f0c", "index": 0, "label": "NEGATIVE"}
    schema = {"oneOf": [_inline(of.model_json_schema()) for of in (Feedback, FeedbackList)]}
    examples = {"one": {"value": one}, "several": {"value": [one, one | {"index": 1}]}}
    doc = _ask("Say what a text really was", schema, examples)
    doc["responses"][404] = {"model": Problem, "description": "No feedback is kept here."}
    return doc | {"response_model": FeedbackResponse, "status_code": 202}


def _ask(summary: str, schema: Doc, examples: Doc) -> Doc:
    """Arguments of `add_api_route` for a route that takes a body."""
    content = {"application/json": {"schema": _inline(schema), "examples": examples}}
    return {
        "summary": summary,
        "response_model": None,
        "responses": {status: {"model": Problem, "description": text} for status, text in _ERRORS.items()},
        "openapi_extra": {"requestBody": {"required": True, "content": content}, "parameters": _HEADERS},
    }


def _inline(schema: Doc) -> Doc:
    """The schema with its `$defs` put where they are used: FastAPI collects none from `openapi_extra`."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return resolve(definitions[node["$ref"].rsplit("/", 1)[-1]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(value) for value in node] if isinstance(node, list) else node

    resolved: Doc = resolve(schema)
    return resolved
