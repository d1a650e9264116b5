"""Peers: how each is installed, started and queried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SERVERS = "benchmarks.peers.servers"
_LABELS = ("NEGATIVE", "POSITIVE")
"""Labels of the built-in model in the order of their names, which is that of MLServer's tensor."""
_INFINITY_MODEL = "sentiment"


def _one_text(text: str) -> dict[str, Any]:
    return {"inputs": text}


def _scores_by_label(answer: Any) -> dict[str, float]:
    scores: dict[str, float] = answer["scores"]
    return scores


def _first_result_scores(answer: Any) -> dict[str, float]:
    scores: dict[str, float] = answer["results"][0]["scores"]
    return scores


@dataclass(frozen=True)
class PeerSpec:
    """Way to serve the model.

    Attributes:
        name: Name in the table and on the command line.
        description: What serves, and with which engine and precision.
        command: Arguments after the Python interpreter; {port}, {model} and {folder} are replaced.
        environment: Name of the environment, with its requirements in requirements/peers-NAME.txt; empty for
            that of the project.
        variables: Further environment variables, with the same replacements.
        path: Path of the route.
        body: Request body of one text.
        scores: Scores by label of a response's body.
    """

    name: str
    description: str
    command: tuple[str, ...]
    environment: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    path: str = "/v1/classify"
    body: Callable[[str], Any] = _one_text
    scores: Callable[[Any], dict[str, float]] = _scores_by_label

    @property
    def requirements(self) -> Path:
        """File of the environment's requirements."""
        return Path("requirements") / f"peers-{self.environment}.txt"


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return ("-m", f"{_SERVERS}.{name}", "{port}", *arguments)


OURS = "ours"
PEERS = (
    PeerSpec(
        OURS,
        "this service, default settings",
        _module("ray_serve", "serve_app.app:app"),
        scores=_first_result_scores,
    ),
    PeerSpec(
        "ours-float32",
        "this service, SENTIMENT_PRECISION=float32",
        _module("ray_serve", "serve_app.app:app"),
        variables={"SENTIMENT_PRECISION": "float32"},
        scores=_first_result_scores,
    ),
    PeerSpec("fastapi", "FastAPI, transformers pipeline, one by one", _module("pipeline", "{model}")),
    PeerSpec("litserve", "LitServe, batches of 32", _module("litserve_server", "{model}"), "litserve"),
    PeerSpec(
        "bentoml",
        "BentoML, adaptive batches of 32",
        (
            *("-c", "from bentoml_cli.cli import cli; cli()", "serve"),
            *(f"{_SERVERS}.bentoml_service:PipelineService", "--host", "127.0.0.1", "--port", "{port}"),
        ),
        "bentoml",
        variables={"MODEL": "{model}", "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": "{folder}"},
        body=lambda text: {"inputs": [text]},
        scores=lambda answer: answer[0],
    ),
    PeerSpec(
        "mlserver",
        "MLServer, adaptive batches of 32",
        _module("mlserver_runtime", "{model}", "{folder}"),
        "mlserver",
        path="/v2/models/sentiment/infer",
        body=lambda text: {
            "inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]
        },
        scores=lambda answer: dict(zip(_LABELS, answer["outputs"][0]["data"], strict=True)),
    ),
    PeerSpec(
        "infinity",
        "infinity, engine torch",
        (
            *("-c", "from infinity_emb.cli import cli; cli()", "v2", "--model-id", "{model}"),
            *("--served-model-name", _INFINITY_MODEL, "--host", "127.0.0.1", "--port", "{port}"),
            *("--engine", "torch", "--device", "cpu", "--no-bettertransformer"),
        ),
        "infinity",
        variables={"DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"},
        path="/classify",
        body=lambda text: {"model": _INFINITY_MODEL, "input": [text]},
        scores=lambda answer: {entry["label"]: entry["score"] for entry in answer["data"][0]},
    ),
    PeerSpec(
        "serve-batch",
        "Ray Serve, @serve.batch of 32, behind HAProxy",
        _module("ray_serve", "benchmarks.peer:app"),
        scores=_first_result_scores,
    ),
    PeerSpec(
        "expert-onnxruntime",
        "FastAPI, batches by length, ONNX Runtime int8",
        _module("expert", "{model}", "onnxruntime"),
        "expert",
    ),
    PeerSpec(
        "expert-openvino",
        "FastAPI, batches by length, OpenVINO bf16",
        _module("expert", "{model}", "openvino"),
        "expert",
    ),
)
