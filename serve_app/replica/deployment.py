"""Replica that Ray Serve runs: serves the model of its rank and swaps models under load."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI
from ray.serve.schema import ReplicaRank

from serve_app.batching.admission import Priority
from serve_app.errors import NotReadyError, QueueFullError, ServiceError
from serve_app.http.routes import build_api
from serve_app.interface import (
    NEUTRAL,
    LiveModel,
    LoadFailure,
    Prediction,
    PredictionBatch,
    ReplicaStatus,
    Timing,
)
from serve_app.metrics import Metrics
from serve_app.prediction_log.logger import open_logger
from serve_app.replica.autoscaling_stats import AutoscalingStats
from serve_app.replica.heap import trim_heap
from serve_app.replica.loaded_model import LoadedModel, load
from serve_app.replica.shadow import Label, ShadowComparison
from serve_app.replica.user_config import ReplicaAssignment, Role, UserConfig, assign
from serve_app.settings import Settings, tokenize_in_calling_thread, wait_passively

_log = logging.getLogger("ray.serve")

_SWITCH_INTERVAL_S = 0.00005
"""Interpreter switch interval. Device threads need the interpreter lock briefly before each step of a forward
pass; with Python's default of 5 ms, a flood of refusals in the event loop would starve the device."""

_BYTES_PER_TOKEN = 4
"""Approximate body bytes per token, to estimate before a body is read whether the request is a bulk
request."""

_METRICS_INTERVAL_S = 0.5
"""Ray reports the gauges that were set since its last report, and drops a gauge that is missing from two
reports in a row. Reports are `metrics_report_interval_ms` apart, at least 1 s."""


@dataclass(frozen=True, slots=True)
class _ShadowModel:
    """Shadow model and its comparison with the live model."""

    live: LoadedModel
    comparison: ShadowComparison


class ClassifierReplica:
    """Replica with one live model on one device behind the HTTP routes, and sometimes a shadow model."""

    def __init__(self) -> None:
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        tokenize_in_calling_thread()
        wait_passively()
        # A full disk must not fail requests. Python reports a log line that it cannot write on stderr, and
        # Serve logs stderr: a recursion that takes 0.1 s and ends in an error.
        logging.raiseExceptions = False
        self._settings = Settings()
        self._metrics = Metrics()
        self._prediction_logger = open_logger(self._settings, self._metrics)
        self._live: LoadedModel | None = None
        self._shadow: _ShadowModel | None = None
        self._assignment: ReplicaAssignment | None = None
        self._failed: LoadFailure | None = None
        self._desired: ReplicaAssignment | None = None
        self._requests = self._tokens = self._refused = 0
        self._changing = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()
        self._reporting: asyncio.Task[None] | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the routes. Serve calls this after the constructor."""
        return build_api(self, self._settings, self._metrics, self._prediction_logger)

    async def reconfigure(self, user_config: dict[str, Any], rank: ReplicaRank | None = None) -> None:
        """Load the model that `user_config` assigns to this rank; the previous model serves until then.

        Serve calls this at the start and when user_config or the rank changes. Of several waiting calls, only
        the latest takes effect. If the model cannot be loaded, the previous one stays live; the failure is
        logged, counted, and part of `status`. The load is retried with the next change.

        Args:
            user_config: As `UserConfig`; a model that is already live is not loaded again.
            rank: Rank of this replica within its deployment; None means 0.

        Raises:
            ValidationError: `user_config` is not valid.
            ServiceError: No model is live, and the champion could not be loaded.
        """
        desired = assign(UserConfig.model_validate(user_config), rank.rank if rank else 0)
        self._desired = desired
        async with self._changing:
            if desired is not self._desired or (desired == self._assignment and self._failed is None):
                return
            self._clear_failure()
            await self._serve(desired.model, desired)
            await self._set_shadow(desired.shadow)
            self._assignment = desired
        self._report_metrics()
        if self._reporting is None:
            self._reporting = asyncio.create_task(self._keep_reporting_metrics(), name="metrics")

    def check_health(self) -> None:
        """Check that the replica can answer. Serve and the health routes call this.

        Raises:
            NotReadyError: No model is loaded.
            ModelFailureError: The latest batch failed, or the device thread is dead or stuck.
        """
        self._require_live().batcher.check_health()
        if self._reporting is not None and self._reporting.done():
            self._reporting.result()  # raises the error of the task: a replica without metrics is not healthy

    @property
    def live(self) -> LiveModel:
        """Return the model that answers now. Raises NotReadyError before the first is loaded."""
        return self._require_live().model

    @property
    def status(self) -> ReplicaStatus:
        """Return this replica's status in a rollout. Raises NotReadyError before the first model."""
        self._require_live()
        desired = self._desired
        assert desired is not None  # a live model implies an assignment
        settled = "failed" if self._failed else "live"
        return ReplicaStatus(
            rank=desired.rank,
            role=self._role(),
            champion=desired.champion,
            canary=desired.canary,
            shadow=self._shadow.live.model.version if self._shadow else None,
            state="loading" if self._changing.locked() else settled,
            failed=self._failed,
        )

    def check_room(
        self, *, tenant: str = "", priority: Priority | None = None, body_bytes: int | None = None
    ) -> None:
        """Raise QueueFullError or NotReadyError if a request would be refused regardless of its body."""
        max_tokens = sys.maxsize if body_bytes is None else body_bytes // _BYTES_PER_TOKEN
        try:
            self._require_live().batcher.check_room(tenant=tenant, priority=priority, max_tokens=max_tokens)
        except QueueFullError:
            self._refused += 1
            raise

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return a sample of `AutoscalingStats`; Serve calls this periodically if the deployment scales."""
        batcher = self._live.batcher if self._live else None
        sample = AutoscalingStats(
            requests=self._requests,
            tokens=self._tokens,
            refused=self._refused,
            ahead_s=batcher.backlog_s if batcher else 0.0,
            capacity_tokens_per_s=batcher.capacity_tokens_per_s if batcher else 0.0,
        )
        return asdict(sample)

    async def classify(
        self, texts: Sequence[str], *, deadline: float, tenant: str = "", priority: Priority | None = None
    ) -> PredictionBatch:
        """Score texts; see `serve_app.interface.Service`."""
        live = self._require_live()
        with live.lease():
            answer = await self._classify(live, texts, deadline, tenant, priority)
        if self._shadow is not None:
            self._shadow.comparison.offer(
                texts, [_label(live.model, result.scores) for result in answer.results]
            )
        return answer

    async def _classify(
        self, live: LoadedModel, texts: Sequence[str], deadline: float, tenant: str, priority: Priority | None
    ) -> PredictionBatch:
        version = live.model.version
        began = time.monotonic()
        items = await live.encode(texts, deadline=deadline)
        tokenize_s = time.monotonic() - began
        self._requests += 1
        self._tokens += sum(item.tokens for item in items)
        answer = await live.score(items, deadline=deadline, tenant=tenant, priority=priority)
        self._metrics.stages(tokenize_s=tokenize_s, queue_s=answer.queue_s, version=version)
        labels = [_label(live.model, scores) for scores in answer.results]
        self._metrics.predictions(labels, [max(scores) for scores in answer.results], version=version)
        neutral = sum(live.model.answer_label(scores) == NEUTRAL for scores in answer.results)
        self._metrics.neutral(neutral, version=version)
        return PredictionBatch(
            model=live.model,
            results=[
                Prediction(scores, item.tokens, item.truncated, item.unknown_tokens)
                for scores, item in zip(answer.results, items, strict=True)
            ],
            timing=Timing(tokenize_s, answer.queue_s, answer.forward_s),
        )

    async def _serve(self, uri: str, desired: ReplicaAssignment) -> None:
        """Make `uri` live. If it fails, keep the live model, or load the champion if there is none."""
        if self._live is not None and self._live.model.uri == uri:
            return
        try:
            ready = await load(uri, self._settings, self._metrics, concurrent_with_serving=self._live)
        except ServiceError as error:
            if self._live is None and uri == desired.champion:
                raise
            self._record_failure(uri, error)
            if self._live is None:
                await self._serve(desired.champion, desired)
            return
        # Requests that have begun keep using the previous model.
        previous, self._live = self._live, ready
        self._announce(ready.model, "model is live")
        if previous is not None:
            self._close_when_unused(previous)

    async def _set_shadow(self, uri: str | None) -> None:
        """Start `uri` as the shadow model, or stop the shadow model if it is None."""
        if self._shadow is not None:
            if self._shadow.live.model.uri == uri:
                return
            shadow, self._shadow = self._shadow, None
            await shadow.comparison.close()
            self._close_when_unused(shadow.live)
        if uri is None:
            return
        try:
            ready = await load(uri, self._settings, self._metrics, concurrent_with_serving=self._live)
        except ServiceError as error:
            self._record_failure(uri, error)
            return
        self._shadow = _ShadowModel(
            ready, ShadowComparison(_labels_of(ready), ready.model.version, self._metrics)
        )
        self._announce(ready.model, "shadow model is live")

    def _close_when_unused(self, live: LoadedModel) -> None:
        """Close a model in the background once its last request is answered."""
        leaving = [live]  # the last reference to the model

        async def leave() -> None:
            await leaving[0].drain_and_close()
            self._announce(leaving.pop().model, "model was replaced")
            await asyncio.to_thread(trim_heap)

        task = asyncio.create_task(leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _require_live(self) -> LoadedModel:
        if self._live is None:
            raise NotReadyError("no model is loaded yet; try again in a few seconds")
        return self._live

    def _role(self) -> Role:
        """Return the actual role, which differs from the assigned one after a failed load."""
        if self._shadow is not None:
            return "shadow"
        desired, live = self._desired, self._require_live()
        return "canary" if desired and live.model.uri == desired.canary != desired.champion else "champion"

    async def _keep_reporting_metrics(self) -> None:
        while True:
            await asyncio.sleep(_METRICS_INTERVAL_S)
            self._report_metrics()

    def _report_metrics(self) -> None:
        """Flush the counts and set every gauge."""
        live, shadow = self._require_live(), self._shadow
        self._metrics.model(live.model, role="canary" if self._role() == "canary" else "champion")
        self._metrics.startup({p: s for p, s in live.model.startup.items() if p.endswith("_s")})
        self._metrics.waiting(live.batcher.waiting_items)
        if self._prediction_logger is not None:
            self._prediction_logger.report_metrics()
        if shadow is not None:
            self._metrics.model(shadow.live.model, role="shadow")
        if self._failed is not None:
            self._metrics.failed_load(self._failed, now=True)
        self._metrics.flush()

    def _record_failure(self, uri: str, error: ServiceError) -> None:
        self._failed = LoadFailure(uri=uri, reason=error.type, detail=str(error))
        _log.error(
            "model could not be loaded", extra={"uri": uri, "reason": error.type, "detail": str(error)}
        )

    def _clear_failure(self) -> None:
        if self._failed is not None:
            self._metrics.failed_load(self._failed, now=False)
        self._failed = None

    def _announce(self, model: LiveModel, event: str) -> None:
        _log.info(event, extra={"model": model.name, "version": model.version, "startup": model.startup})


def _label(model: LiveModel, scores: Sequence[float]) -> str:
    return model.labels[scores.index(max(scores))]


def _labels_of(live: LoadedModel) -> Label:
    """Return the function with which `ShadowComparison` labels texts."""

    async def label(texts: Sequence[str]) -> list[str]:
        with live.lease():
            items = await live.encode(texts, deadline=None, inline=False)
            answer = await live.score(items, deadline=None, priority="bulk")
        return [_label(live.model, scores) for scores in answer.results]

    return label
