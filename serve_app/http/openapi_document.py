"""Completion of FastAPI's OpenAPI document, needed because the routes parse their requests themselves."""

from __future__ import annotations

import re
from typing import Any

from serve_app.http.auth import is_open

Json = dict[str, Any]

_TAGS = {
    "native": "Native routes of this service.",
    "text-embeddings-inference": "Compatible with Hugging Face text-embeddings-inference.",
    "sagemaker": "Compatible with SageMaker hosting.",
    "vllm": "Compatible with vLLM.",
    "open-inference-protocol": "Compatible with Open Inference Protocol v2, and with Triton's extensions "
    "that clients use.",
}

_NATIVE, _TEI, _SAGEMAKER, _VLLM, _OIP = _TAGS
_VERSION = "/versions/{version}"

_OPERATIONS = {
    "POST /v1/classify": ("classify", _NATIVE),
    "POST /v1/feedback": ("feedback", _NATIVE),
    "GET /v1/model": ("live_model", _NATIVE),
    "POST /predict": ("tei_predict", _TEI),
    "POST /": ("tei_predict_at_root", _TEI),
    "GET /health": ("tei_health", _TEI),
    "GET /info": ("tei_info", _TEI),
    "POST /invocations": ("sagemaker_invocations", _SAGEMAKER),
    "GET /ping": ("sagemaker_ping", _SAGEMAKER),
    "GET /execution-parameters": ("sagemaker_execution_parameters", _SAGEMAKER),
    "POST /classify": ("vllm_classify", _VLLM),
    "GET /v2": ("oip_server_metadata", _OIP),
    "GET /v2/health/live": ("oip_server_live", _OIP),
    "GET /v2/health/ready": ("oip_server_ready", _OIP),
    "POST /v2/repository/index": ("oip_repository_index", _OIP),
    "GET /v2/models/stats": ("oip_statistics", _OIP),
    "GET /v2/models/{name}": ("oip_model_metadata", _OIP),
    "GET /v2/models/{name}/config": ("oip_model_config", _OIP),
    "GET /v2/models/{name}/stats": ("oip_model_statistics", _OIP),
    "GET /v2/models/{name}/ready": ("oip_model_ready", _OIP),
    "POST /v2/models/{name}/infer": ("oip_infer", _OIP),
}
"""Id and tag of each operation. Generated clients name their functions by the ids, so ids must not change. A
path with a version has the id of the path without it, followed by `_version`."""

_PATH_PARAMETERS = {"name": "Name of the live model.", "version": "Version of the live model."}

_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "X-API-Key: KEY"},
}

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_CONTENT = {"application/problem+json": {"schema": _PROBLEM}}


def complete(document: Json, *, needs_key: bool) -> None:
    """Complete the document that FastAPI generated.

    Args:
        document: OpenAPI document, changed in place.
        needs_key: Whether API keys are configured.
    """
    components = document["components"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _name(operation, method.upper(), path)
            _describe_path(operation, path)
            _share_schemas(operation, components["schemas"])
            _describe_answers(operation)
            if needs_key and not is_open(method.upper(), path):
                operation["security"] = [{scheme: []} for scheme in _SECURITY_SCHEMES]
    if needs_key:
        components["securitySchemes"] = _SECURITY_SCHEMES
    used = {operation["tags"][0] for path in document["paths"].values() for operation in path.values()}
    document["tags"] = [{"name": tag, "description": text} for tag, text in _TAGS.items() if tag in used]


def _name(operation: Json, method: str, path: str) -> None:
    key = f"{method} {path.replace(_VERSION, '')}"
    operation_id, tag = _OPERATIONS.get(key, (re.sub(r"\W+", "_", key.lower()).strip("_"), _NATIVE))
    operation["operationId"] = operation_id + ("_version" if _VERSION in path else "")
    operation["tags"] = [tag]


def _describe_path(operation: Json, path: str) -> None:
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS.get(name, ""),
            "schema": {"type": "string"},
        }
        for name in re.findall(r"{(\w+)}", path)
    ]
    if parameters:
        operation["parameters"] = [*parameters, *operation.get("parameters", [])]
        operation["responses"]["404"] = {"description": "Not the live model."}


def _describe_answers(operation: Json) -> None:
    """Declare error responses as problem documents, and responses without a schema as empty."""
    responses = operation["responses"]
    responses.setdefault("default", {"description": "Any other error."})
    for status, response in responses.items():
        if status == "default" or int(status) >= 400:
            response["content"] = _PROBLEM_CONTENT
        elif response["content"].get("application/json") == {"schema": {}}:
            del response["content"]


def _share_schemas(operation: Json, schemas: Json) -> None:
    """Move the schemas of a request body to the shared ones, where FastAPI puts those of responses."""
    for media in operation.get("requestBody", {}).get("content", {}).values():
        media["schema"] = _shared(media["schema"], schemas)


def _shared(schema: Json, schemas: Json) -> Json:
    """Move the `$defs` of a schema, and the schema if titled, to `schemas`; return it or a reference."""
    for name, definition in schema.get("$defs", {}).items():
        schemas.setdefault(name, _relinked(definition))
    schema = _relinked({key: value for key, value in schema.items() if key != "$defs"})
    if "title" not in schema:
        return schema
    schemas.setdefault(schema["title"], schema)
    return {"$ref": f"#/components/schemas/{schema['title']}"}


def _relinked(node: Any) -> Any:
    """Return the schema with references to shared `$defs`, and mixed enumerations split by type."""
    if isinstance(node, list):
        return [_relinked(one) for one in node]
    if not isinstance(node, dict):
        return node
    values = node.get("enum", [])
    if True in values and False in values and len(values) > 2:
        words = [value for value in values if not isinstance(value, bool)]
        return {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": words}]}
    return {
        key: value.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _relinked(value)
        for key, value in node.items()
    }
