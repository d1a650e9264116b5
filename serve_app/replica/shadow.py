"""Shadow model: scores the texts that the live model has answered, and counts agreement and disagreement.

It cannot affect a request: texts are offered after they are answered, into a bounded queue, and are dropped
when the queue is full. One task reads the queue, so at most one shadow batch runs at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from serve_app.errors import ServiceError
from serve_app.metrics import Metrics

_log = logging.getLogger("ray.serve")

MAX_TEXTS = 512
"""Maximum number of texts that wait for the shadow model. A shadow model that is slower than the champion
scores a sample of the texts."""

Label = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""Returns the labels of texts, one per text, in their order."""


class ShadowComparison:
    """Compares the labels of the shadow model with the labels of the live model.

    Args:
        label: Labels texts with the shadow model.
        version: Version of the shadow model.
        metrics: Counts the outcomes.
    """

    def __init__(self, label: Label, version: str, metrics: Metrics) -> None:
        self._label = label
        self._version = version
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[list[str], list[str]]] = asyncio.Queue()
        self._waiting_texts = 0
        self._task = asyncio.create_task(self._work(), name="shadow")

    def offer(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Queue texts with their live labels for comparison; count them as dropped if the queue is full."""
        if self._waiting_texts + len(texts) > MAX_TEXTS:
            self._metrics.dropped_shadow(len(texts), version=self._version)
            return
        self._waiting_texts += len(texts)
        self._queue.put_nowait((list(texts), list(labels)))

    async def close(self) -> None:
        """Drop the queued texts and stop."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            texts, answered = await self._queue.get()
            self._waiting_texts -= len(texts)
            try:
                labels = await self._label(texts)
            except ServiceError as error:
                _log.warning(
                    "shadow model failed", extra={"version": self._version, "error_type": error.type}
                )
                self._metrics.shadow({"failed": len(texts)}, version=self._version)
                continue
            agree = sum(one == other for one, other in zip(answered, labels, strict=True))
            outcomes = {"agree": agree, "disagree": len(texts) - agree}
            self._metrics.shadow(outcomes, version=self._version)
