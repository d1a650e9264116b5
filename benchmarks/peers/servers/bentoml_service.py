"""BentoML with its adaptive batching: `bentoml serve …bentoml_service:PipelineService`."""

import os

import bentoml

from benchmarks.peers.servers import pipeline


@bentoml.service(traffic={"timeout": 120, "max_concurrency": 1000})
class PipelineService:
    """Pipeline of transformers; MODEL is its folder."""

    def __init__(self) -> None:
        self._classify = pipeline.load(os.environ["MODEL"])

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=32, max_latency_ms=60_000, route="/v1/classify"
    )
    def classify(self, inputs: list[str]) -> list[dict[str, float]]:
        """Return the scores by label of each text of a batch."""
        return pipeline.scores(self._classify, inputs)
