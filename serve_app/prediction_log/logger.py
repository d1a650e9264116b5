"""Prediction logger: samples predictions, compares feedback with them, and passes both to their writers."""

from __future__ import annotations

import asyncio
import atexit
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from serve_app.errors import QueueFullError
from serve_app.metrics import Metrics
from serve_app.prediction_log.recent_predictions import RecentPredictions
from serve_app.prediction_log.records import (
    FEEDBACK,
    PREDICTIONS,
    FeedbackRecord,
    PredictionRecord,
    is_audited,
)
from serve_app.prediction_log.stores import open_store
from serve_app.prediction_log.writer import BufferLimits, Writer
from serve_app.settings import Settings

_FEEDBACK_BUFFER_BYTES = 16 << 20
_CLOSE_PATIENCE_S = 5.0
"""Serve allows a replica 20 s to stop, which the running requests need most of."""


@dataclass(frozen=True, slots=True)
class PredictionLogger:
    """Prediction log and feedback of one replica. Not thread-safe; use it from the event loop.

    Attributes:
        predictions: Writer of the predictions.
        feedback: Writer of the feedback; its buffer is separate, so that predictions cannot fill it.
        fraction: Fraction of requests that is logged.
        metrics: Counts feedback.
        flush_s: Seconds until a full buffer may have room again.
        recent: Labels of the latest requests, logged or not.
        audit_fraction: Fraction of requests that is marked for labelling, and always logged.
        rng: Returns a random number from [0, 1) for each request.
    """

    predictions: Writer[PredictionRecord]
    feedback: Writer[FeedbackRecord]
    fraction: float
    metrics: Metrics
    flush_s: float
    recent: RecentPredictions
    audit_fraction: float = 0.0
    rng: Callable[[], float] = random.random

    def record_prediction(self, record: PredictionRecord) -> None:
        """Log a prediction if it is in the sample or the audit sample and the buffer has room."""
        model = record.answer.model
        labels = [model.labels[one.scores.index(max(one.scores))] for one in record.answer.results]
        self.recent.remember(record.request_id, labels, model.version)
        if is_audited(record.request_id, self.audit_fraction):
            self.predictions.offer(replace(record, audit_fraction=self.audit_fraction))
        elif self.rng() < self.fraction:
            self.predictions.offer(record)

    def record_feedback(self, truths: Sequence[FeedbackRecord]) -> Counter[str]:
        """Log feedback, and compare it with the predictions.

        Returns:
            Number of predictions that were right, wrong, and unknown (of requests that the replica does not
            remember).

        Raises:
            QueueFullError: The buffer could not hold all feedback. The caller should send all of it again,
                which is safe.
        """
        outcomes: Counter[str] = Counter()
        by_request: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for truth in truths:
            if not self.feedback.offer(truth):
                raise QueueFullError(
                    f"the buffer of feedback is full; retry in {self.flush_s:.0f} s", self.flush_s
                )
            known = self.recent.recall(truth.request_id, truth.index)
            label, version = known or (None, "unknown")
            outcome = "unknown" if label is None else "right" if label == truth.label else "wrong"
            outcomes[outcome] += 1
            self.metrics.feedback(outcome, version=version)
            if outcome != "unknown":
                by_request[truth.request_id, version][outcome] += 1
        for (_, version), of_request in by_request.items():
            self.metrics.request_feedback(of_request["right"], of_request["wrong"], version=version)
        return outcomes

    def report_metrics(self) -> None:
        """Set the gauges of the buffers."""
        self.metrics.log_buffer(PREDICTIONS, self.predictions.held_bytes)
        self.metrics.log_buffer(FEEDBACK, self.feedback.held_bytes)

    @asynccontextmanager
    async def running(self, _app: object = None) -> AsyncIterator[None]:
        """Flush the buffers at the end of the application's lifespan."""
        atexit.register(self.close)  # SIGTERM may end the process without the end of the lifespan
        yield
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Write the buffered rows, within a time limit."""
        for writer in (self.predictions, self.feedback):
            writer.close(patience_s=_CLOSE_PATIENCE_S)


def open_logger(settings: Settings, metrics: Metrics) -> PredictionLogger | None:
    """Return the logger that the settings configure, or None if logging is disabled."""
    if settings.log_uri is None:
        return None
    from serve_app.prediction_log.parquet import feedback_files, prediction_files

    store = open_store(settings.log_uri)
    return PredictionLogger(
        predictions=Writer(
            PREDICTIONS,
            partial(prediction_files, privacy=settings.log_privacy),
            store,
            BufferLimits(settings.log_buffer_bytes, settings.log_flush_s),
            partial(metrics.logged, PREDICTIONS),
        ),
        feedback=Writer(
            FEEDBACK,
            feedback_files,
            store,
            BufferLimits(_FEEDBACK_BUFFER_BYTES, settings.log_flush_s),
            partial(metrics.logged, FEEDBACK),
        ),
        fraction=settings.log_fraction,
        metrics=metrics,
        flush_s=settings.log_flush_s,
        recent=RecentPredictions(),
        audit_fraction=settings.audit_fraction,
    )
