"""Peer for comparison: the same model behind `@serve.batch`, padded, in a thread, as in Ray's guides."""

import asyncio
from typing import Any

from fastapi import FastAPI
from ray import serve

from serve_app.app import DEPLOYMENT
from serve_app.model import resolver
from serve_app.model.classifier import Classifier
from serve_app.settings import Settings

api = FastAPI()


@serve.deployment(name=DEPLOYMENT, max_ongoing_requests=1000)
@serve.ingress(api)
class BatchPeer:
    """Serve's own batching at its best settings here: as many items as connections, and a short wait."""

    def __init__(self) -> None:
        settings = Settings()
        bundle = resolver.fetch(settings.model, cache_dir=settings.cache_dir)
        threads = max(1, int(settings.replica_cpus))
        self._classifier = Classifier(bundle, threads=threads, packed=False)

    @api.post("/v1/classify")
    async def classify(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the parts of the native response that the benchmark needs."""
        texts = [body["inputs"]] if isinstance(body["inputs"], str) else body["inputs"]
        rows = await asyncio.gather(*(self._score(text) for text in texts))
        results = [dict(zip(self._classifier.labels, scores, strict=True)) for scores in rows]
        return {"results": [{"label": max(row, key=row.__getitem__), "scores": row} for row in results]}

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.01)  # type: ignore[untyped-decorator]
    async def _score(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._forward, texts)

    def _forward(self, texts: list[str]) -> list[list[float]]:
        rows = [item.ids for item in self._classifier.preprocess(texts)]
        logits = self._classifier.padded_logits(rows)
        scores: list[list[float]] = logits.softmax(-1).tolist()
        return scores


app = BatchPeer.options(ray_actor_options={"num_cpus": Settings().replica_cpus}).bind()  # type: ignore[attr-defined]
