"""LitServe with its batching: `litserve_server.py PORT MODEL`."""

import sys
from typing import Any

import litserve

from benchmarks.peers.servers import pipeline


class PipelineApi(litserve.LitAPI):  # type: ignore[misc]
    """Pipeline of transformers in LitServe's worker process."""

    def setup(self, device: str) -> None:
        """Load the model."""
        self._classify = pipeline.load(sys.argv[2])

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text of a request."""
        return request["inputs"]

    def predict(self, texts: list[str]) -> list[dict[str, float]]:
        """Classify a batch."""
        return pipeline.scores(self._classify, texts)

    def encode_response(self, output: dict[str, float]) -> dict[str, Any]:
        """Return the body of a response."""
        return {"scores": output}


if __name__ == "__main__":
    api = PipelineApi(max_batch_size=32, batch_timeout=0.01, api_path="/v1/classify")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
