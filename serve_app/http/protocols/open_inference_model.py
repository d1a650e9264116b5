"""Health, metadata, configuration, statistics and index of Open Inference Protocol v2.

Schemas: https://github.com/kserve/open-inference-protocol (inference_rest.md), and Triton's extensions that
tritonclient uses: extension_model_configuration.md, extension_statistics.md and extension_model_repository.md
of https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from serve_app.http.protocols.base import Json
from serve_app.interface import LiveModel, PredictionBatch


class OipLive(BaseModel):
    """Liveness of the process."""

    live: bool


class OipReady(BaseModel):
    """Readiness of the model."""

    ready: bool


class OipModelReady(OipReady):
    """Readiness of the named model."""

    name: str


class OipServer(BaseModel):
    """Metadata of the server; the version is the protocol's."""

    name: str
    version: str
    extensions: list[str]


class OipTensorMetadata(BaseModel):
    """Metadata of a tensor; -1 is a variable dimension."""

    name: str
    datatype: str
    shape: list[int]


class OipModelMetadata(BaseModel):
    """Metadata of the model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[OipTensorMetadata]
    outputs: list[OipTensorMetadata]


class OipTensorConfig(BaseModel):
    """Tensor in Triton's model configuration."""

    name: str
    data_type: Literal["TYPE_STRING", "TYPE_FP32"]
    dims: list[int]


class OipModelConfig(BaseModel):
    """Configuration of the model, as in Triton."""

    name: str
    platform: str
    backend: str
    max_batch_size: int = Field(description="0: the first dimension of a tensor is the number of texts.")
    input: list[OipTensorConfig]
    output: list[OipTensorConfig]


class OipDuration(BaseModel):
    """Number of requests and their total time in nanoseconds."""

    count: int
    ns: int


class OipDurations(BaseModel):
    """Time of the answered requests by phase."""

    success: OipDuration
    fail: OipDuration = Field(description="Not counted.")
    queue: OipDuration = Field(description="Time waiting for the device.")
    compute_input: OipDuration = Field(description="Tokenization.")
    compute_infer: OipDuration = Field(description="Forward pass.")
    compute_output: OipDuration = Field(description="Not counted.")


class OipModelStatistics(BaseModel):
    """Statistics of one version on this replica since it became live, over all protocols."""

    name: str
    version: str
    last_inference: int = Field(description="Time of the last request in milliseconds since 1970, UTC.")
    inference_count: int = Field(description="Number of texts.")
    execution_count: int = Field(description="Number of requests.")
    inference_stats: OipDurations
    batch_stats: list[None]


class OipStatistics(BaseModel):
    """Statistics of the live model."""

    model_stats: list[OipModelStatistics]


class OipIndexEntry(BaseModel):
    """Entry of the model repository."""

    name: str
    version: str
    state: Literal["READY"]
    reason: str


SERVER = OipServer(
    name="sentiment-service",
    version="2",
    extensions=["binary_tensor_data", "model_configuration", "statistics"],
).model_dump()
"""Response of GET /v2."""

_PLATFORM = "pytorch_transformers"


def ready(live: LiveModel) -> Json:
    """Return the response of GET /v2/models/{name}/ready."""
    return OipModelReady(name=live.name, ready=True).model_dump()


def metadata(live: LiveModel) -> Json:
    """Return the response of GET /v2/models/{name}."""
    return OipModelMetadata(
        name=live.name,
        versions=[live.version],
        platform=_PLATFORM,
        inputs=[OipTensorMetadata(name="text", datatype="BYTES", shape=[-1])],
        outputs=[
            OipTensorMetadata(name="label", datatype="BYTES", shape=[-1]),
            OipTensorMetadata(name="score", datatype="FP32", shape=[-1]),
            OipTensorMetadata(name="scores", datatype="FP32", shape=[-1, len(live.labels)]),
        ],
    ).model_dump()


def config(live: LiveModel) -> Json:
    """Return the response of GET /v2/models/{name}/config."""
    return OipModelConfig(
        name=live.name,
        platform=_PLATFORM,
        backend="python",
        max_batch_size=0,
        input=[OipTensorConfig(name="text", data_type="TYPE_STRING", dims=[-1])],
        output=[
            OipTensorConfig(name="label", data_type="TYPE_STRING", dims=[-1]),
            OipTensorConfig(name="score", data_type="TYPE_FP32", dims=[-1]),
            OipTensorConfig(name="scores", data_type="TYPE_FP32", dims=[-1, len(live.labels)]),
        ],
    ).model_dump()


def index(live: LiveModel) -> Json:
    """Return the response of POST /v2/repository/index."""
    return [OipIndexEntry(name=live.name, version=live.version, state="READY", reason="").model_dump()]


class LiveStatistics:
    """Statistics of the live version; they restart with the next version."""

    def __init__(self) -> None:
        self._forget("")

    def add(self, answer: PredictionBatch, live: LiveModel, now_s: float) -> None:
        """Count a request answered at `now_s` (seconds since 1970), unless by an earlier version."""
        if live.version != self._version:
            self._forget(live.version)
        if answer.model.version == live.version:
            self._latest_s = now_s
            self._requests += 1
            self._texts += len(answer.results)
            self._tokenize_s += answer.timing.tokenize_s
            self._queue_s += answer.timing.queue_s
            self._forward_s += answer.timing.forward_s

    def to_json(self, live: LiveModel) -> Json:
        """Return the response of GET /v2/models/{name}/stats."""
        if live.version != self._version:
            self._forget(live.version)
        none = OipDuration(count=0, ns=0)
        durations = OipDurations(
            success=self._duration(self._tokenize_s + self._queue_s + self._forward_s),
            fail=none,
            queue=self._duration(self._queue_s),
            compute_input=self._duration(self._tokenize_s),
            compute_infer=self._duration(self._forward_s),
            compute_output=none,
        )
        model = OipModelStatistics(
            name=live.name,
            version=live.version,
            last_inference=round(1000 * self._latest_s),
            inference_count=self._texts,
            execution_count=self._requests,
            inference_stats=durations,
            batch_stats=[],
        )
        return OipStatistics(model_stats=[model]).model_dump()

    def _duration(self, seconds: float) -> OipDuration:
        return OipDuration(count=self._requests, ns=round(1e9 * seconds))

    def _forget(self, version: str) -> None:
        self._version = version
        self._requests = self._texts = 0
        self._latest_s = self._tokenize_s = self._queue_s = self._forward_s = 0.0
