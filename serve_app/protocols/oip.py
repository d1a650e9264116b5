"""Open Inference Protocol v2: POST /v2/models/{name}/infer.

Shapes: https://github.com/kserve/open-inference-protocol (inference_rest.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serve_app.errors import excerpt
from serve_app.protocols.shape import Json, Protocol, Question, expect_json, invalid, read, to_json
from serve_app.schemas import Segment
from serve_app.service import Classified


class OipTensor(BaseModel):
    """Texts as a BYTES tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[str] | list[list[str]]
    parameters: dict[str, Any] | None = None


class OipParameters(BaseModel):
    """What is read of a request's parameters; there may be others."""

    segment: Segment | None = None


class OipRequest(BaseModel):
    """One BYTES tensor of shape [n] or [n, 1]."""

    model_config = ConfigDict(strict=True)

    id: str | None = None
    inputs: list[OipTensor] = Field(min_length=1, max_length=1)
    outputs: list[dict[str, Any]] | None = None
    parameters: OipParameters | None = None


def _decode(body: bytes, media_type: str) -> Question:
    expect_json(media_type)
    request = read(OipRequest, body)
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES":
        raise invalid([{"field": "/inputs/0/datatype", "message": f"BYTES, got {excerpt(tensor.datatype)}"}])
    texts = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    if tensor.shape not in ([len(texts)], [len(texts), 1]):
        message = f"[{len(texts)}] or [{len(texts)}, 1] for {len(texts)} texts, got {excerpt(tensor.shape)}"
        raise invalid([{"field": "/inputs/0/shape", "message": message}])
    names = [str(output.get("name")) for output in request.outputs or []]
    for index, name in enumerate(names):
        if name not in _OUTPUTS:
            message = f"one of {', '.join(_OUTPUTS)}, got {excerpt(name)}"
            raise invalid([{"field": f"/outputs/{index}/name", "message": message}])
    options = {"id": request.id, "outputs": list(dict.fromkeys(names or _OUTPUTS))}
    segment = request.parameters.segment if request.parameters else None
    return Question(texts, "/inputs/0/data/{}".format, options, segment)


def _encode(question: Question, answer: Classified, request_id: str) -> tuple[bytes, str]:
    labels, rows = answer.model.labels, [list(scored.scores) for scored in answer.results]
    best = [max(range(len(labels)), key=row.__getitem__) for row in rows]
    count = len(rows)
    tensors: dict[str, dict[str, Json]] = {
        "label": {"datatype": "BYTES", "shape": [count], "data": [labels[index] for index in best]},
        "score": {
            "datatype": "FP32",
            "shape": [count],
            "data": [row[index] for row, index in zip(rows, best, strict=True)],
        },
        "scores": {
            "datatype": "FP32",
            "shape": [count, len(labels)],
            "data": [score for row in rows for score in row],
            "parameters": {"labels": list(labels)},
        },
    }
    return to_json(
        {
            "model_name": answer.model.name,
            "model_version": answer.model.version,
            "id": question.options["id"] or request_id,
            "outputs": [{"name": name, **tensors[name]} for name in question.options["outputs"]],
        }
    )


SERVER = {"name": "sentiment-service", "version": "2", "extensions": []}
"""The server's metadata, as GET /v2 answers it; the version is the protocol's."""

_OUTPUTS = ("label", "score", "scores")


def metadata(name: str, version: str, labels: Sequence[str]) -> Json:
    """The model's metadata, as GET /v2/models/{name} answers it."""
    return {
        "name": name,
        "versions": [version],
        "platform": "pytorch_transformers",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(labels)]},
        ],
    }


OIP = Protocol(_decode, _encode)
