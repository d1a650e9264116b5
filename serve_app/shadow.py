"""The shadow: a second model scores what the first has answered, aside, and what they disagree on is counted.

Nothing here can reach a request: it is offered after the answer is known, into a bounded queue, and dropped
where there is no room. One task takes from the queue, so at most one shadow batch runs beside the live ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from serve_app.errors import ServiceError
from serve_app.metrics import Metrics

_log = logging.getLogger("ray.serve")

MAX_TEXTS = 512
"""Texts that wait for the shadow at most. A shadow as fast as the champion lets few wait; a slower one sees a
sample."""

Label = Callable[[Sequence[str]], Awaitable[Sequence[str]]]
"""The labels of texts, one a text, in their order."""


class Shadow:
    """Compares a model's labels with those that were answered.

    Args:
        label: of the model under trial.
        version: of that model.
        metrics: counts what came out.
    """

    def __init__(self, label: Label, version: str, metrics: Metrics) -> None:
        self._label = label
        self._version = version
        self._metrics = metrics
        self._queue: asyncio.Queue[tuple[list[str], list[str]]] = asyncio.Queue()
        self._waiting_texts = 0
        self._task = asyncio.create_task(self._work(), name="shadow")

    def offer(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        """Compare with these answers when there is time; where there is no room they count as dropped."""
        if self._waiting_texts + len(texts) > MAX_TEXTS:
            self._metrics.dropped_shadow(len(texts), version=self._version)
            return
        self._waiting_texts += len(texts)
        self._queue.put_nowait((list(texts), list(labels)))

    async def close(self) -> None:
        """Drop what waits and end."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            texts, answered = await self._queue.get()
            self._waiting_texts -= len(texts)
            try:
                labels = await self._label(texts)
            except ServiceError as error:
                _log.warning("the shadow failed", extra={"version": self._version, "error_type": error.type})
                self._metrics.shadow({"failed": len(texts)}, version=self._version)
                continue
            agree = sum(one == other for one, other in zip(answered, labels, strict=True))
            outcomes = {"agree": agree, "disagree": len(texts) - agree}
            self._metrics.shadow(outcomes, version=self._version)
