"""Open Inference Protocol v2: POST /v2/models/{name}/infer, in JSON and with binary tensors.

Schemas: https://github.com/kserve/open-inference-protocol (inference_rest.md). `tensors` implements binary
    tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from serve_app.http.protocols import tensors
from serve_app.http.protocols.base import (
    DecodedRequest,
    EncodedResponse,
    Json,
    Protocol,
    expect_json,
    invalid,
    media_type,
    read,
    to_json,
)
from serve_app.http.schemas import Segment
from serve_app.interface import PredictionBatch

BINARY = "application/octet-stream"
OUTPUTS = ("label", "score", "scores")
_MAX_OUTPUTS = 16


class OipTensorParameters(BaseModel):
    """Supported parameters of a tensor; others are ignored."""

    binary_data_size: int | None = Field(
        default=None,
        ge=0,
        description="Number of bytes of the tensor after the JSON part, instead of `data`.",
    )


class OipTensor(BaseModel):
    """Texts as a BYTES tensor."""

    name: str
    shape: list[int]
    datatype: str
    data: list[str] | list[list[str]] | None = None
    parameters: OipTensorParameters | None = None


class OipOutputParameters(BaseModel):
    """Parameters of a requested output. Others are ignored; those of two extensions are rejected."""

    binary_data: bool | None = Field(
        default=None, description="Whether the tensor follows the JSON part instead of being in it."
    )
    classification: None = Field(default=None, description="Not supported: `scores` holds every class.")
    shared_memory_region: None = Field(default=None, description="Not supported.")


class OipRequestedOutput(BaseModel):
    """Requested output tensor."""

    name: str
    parameters: OipOutputParameters | None = None


class OipParameters(BaseModel):
    """Supported parameters of a request; others are ignored."""

    segment: Segment | None = None
    binary_data_output: bool = Field(
        default=False, description="Default of `binary_data` for outputs without it."
    )


class OipRequest(BaseModel):
    """Request with one BYTES tensor of shape [n] or [n, 1]."""

    model_config = ConfigDict(strict=True)

    id: str | None = None
    inputs: list[OipTensor] = Field(min_length=1, max_length=1)
    outputs: list[OipRequestedOutput] | None = Field(
        default=None,
        max_length=_MAX_OUTPUTS,
        description="Requested outputs; default: all. Each is returned once.",
    )
    parameters: OipParameters | None = None


class OipOutput(BaseModel):
    """Output tensor: `data`, or with `binary_data_size` that number of bytes after the JSON part."""

    name: str
    datatype: str
    shape: list[int]
    data: list[str] | list[float] | None = None
    parameters: dict[str, str | int] | None = Field(
        default=None, description="For `scores`: `labels`, a JSON list in a string."
    )


class OipResponse(BaseModel):
    """Requested output tensors."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OipOutput]


def _decode(body: bytes, headers: Mapping[str, str], max_texts: int) -> DecodedRequest:
    json_part, binary = tensors.split(body, headers)
    if binary is None or media_type(headers) != BINARY:
        expect_json(media_type(headers))
    request = read(OipRequest, json_part)
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES":
        message = f"expected BYTES, got {tensor.datatype[:64]!r}"
        raise invalid([{"field": "/inputs/0/datatype", "message": message}])
    texts = _texts(tensor, binary, max_texts)
    if tensor.shape not in ([len(texts)], [len(texts), 1]):
        message = (
            f"expected [{len(texts)}] or [{len(texts)}, 1] for {len(texts)} texts, got {tensor.shape[:8]}"
        )
        raise invalid([{"field": "/inputs/0/shape", "message": message}])
    parameters = request.parameters or OipParameters()
    outputs = dict.fromkeys(OUTPUTS, parameters.binary_data_output) if not request.outputs else {}
    for index, output in enumerate(request.outputs or []):
        if output.name not in OUTPUTS:
            message = f"expected one of {', '.join(OUTPUTS)}, got {output.name[:64]!r}"
            raise invalid([{"field": f"/outputs/{index}/name", "message": message}])
        own = output.parameters.binary_data if output.parameters else None
        outputs[output.name] = parameters.binary_data_output if own is None else own
    options = {"id": request.id, "outputs": outputs}
    return DecodedRequest(texts, "/inputs/0/data/{}".format, options, parameters.segment)


def _texts(tensor: OipTensor, binary: bytes | None, max_texts: int) -> list[str]:
    """Return the tensor's elements, from the JSON part or from the bytes after it."""
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if (size or 0) != len(binary or b""):
        field = "/inputs/0/parameters/binary_data_size"
        message = f"expected {len(binary or b'')}, the number of bytes after the JSON part, got {size}"
        raise invalid([{"field": field, "message": message}])
    if size is not None:
        return tensors.read_texts(binary or b"", max_texts)
    if tensor.data is None:
        message = "expected texts, or binary_data_size in parameters"
        raise invalid([{"field": "/inputs/0/data", "message": message}])
    return [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]


def _encode(question: DecodedRequest, answer: PredictionBatch, request_id: str) -> EncodedResponse:
    labels, rows = answer.model.labels, [list(scored.scores) for scored in answer.results]
    values: dict[str, tuple[list[int], list[Any]]] = {
        "label": ([len(rows)], [answer.model.answer_label(row) for row in rows]),
        "score": ([len(rows)], [max(row) for row in rows]),
        "scores": ([len(rows), len(labels)], [score for row in rows for score in row]),
    }
    outputs: list[Json] = []
    binary: list[bytes] = []
    for name, is_binary in question.options["outputs"].items():
        shape, data = values[name]
        # The protocol allows numbers, strings and booleans as parameters, but not lists.
        parameters: dict[str, str | int] = {"labels": json.dumps(labels)} if name == "scores" else {}
        output = {"name": name, "datatype": "BYTES" if name == "label" else "FP32", "shape": shape}
        if is_binary:
            binary.append(tensors.of_texts(data) if name == "label" else tensors.of_floats(data))
            parameters["binary_data_size"] = len(binary[-1])
        else:
            output["data"] = data
        outputs.append(output | {"parameters": parameters} if parameters else output)
    encoded = to_json(
        {
            "model_name": answer.model.name,
            "model_version": answer.model.version,
            "id": question.options["id"] or request_id,
            "outputs": outputs,
        }
    )
    if not binary:
        return encoded
    headers = {tensors.LENGTH_HEADER: str(len(encoded.content))}
    return EncodedResponse(b"".join([encoded.content, *binary]), BINARY, headers)


OIP = Protocol(_decode, _encode)
