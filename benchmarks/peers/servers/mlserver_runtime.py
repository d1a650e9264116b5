"""MLServer with its adaptive batching: `mlserver_runtime.py PORT MODEL FOLDER`.

Writes a model repository into FOLDER, and becomes MLServer with it.
"""

import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.servers import pipeline


class Runtime(MLModel):  # type: ignore[misc]
    """Pipeline of transformers; the output is a tensor of scores in the order of the labels' names."""

    async def load(self) -> bool:
        """Load the model."""
        self._classify = pipeline.load(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify the texts of a batch."""
        texts = StringCodec.decode_input(payload.inputs[0])
        rows = pipeline.scores(self._classify, texts)
        scores = np.array([[row[label] for label in sorted(row)] for row in rows])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="scores", payload=scores)]
        )


def main(port: int, model: str, folder: Path) -> None:
    """Write the model repository, and replace this process by MLServer."""
    (folder / "sentiment").mkdir(parents=True, exist_ok=True)
    settings = {"host": "127.0.0.1", "http_port": port, "metrics_endpoint": None}
    settings |= {"grpc_port": _free_port(), "metrics_port": _free_port()}
    (folder / "settings.json").write_text(json.dumps(settings))
    model_settings = {
        "name": "sentiment",
        "implementation": "benchmarks.peers.servers.mlserver_runtime.Runtime",
        "parameters": {"uri": model},
        "max_batch_size": 32,
        "max_batch_time": 0.01,
    }
    (folder / "sentiment/model-settings.json").write_text(json.dumps(model_settings))
    command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder)]
    os.execv(sys.executable, command)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
