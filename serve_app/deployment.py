"""The replica: loads the model, keeps it live, and answers. What Serve calls, and what the routes ask."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psutil
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray.serve.schema import ReplicaRank

from serve_app.admission import BatchLimits
from serve_app.api import build_api
from serve_app.batching import Batcher
from serve_app.errors import NotReady
from serve_app.metrics import Metrics
from serve_app.service import Classified, LiveModel, Scored, Timing
from serve_app.settings import Settings

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier, Encoded

_log = logging.getLogger("ray.serve")

_INLINE_CHARS = 4000
"""Texts up to this length together are tokenised in the event loop (about a millisecond); longer ones in a
thread, so that one long request does not hold up the others."""
_SWITCH_INTERVAL_S = 0.00005
"""How long the event loop may keep the interpreter from the lanes, which need it for a moment before each
step of a forward. Python's 5 ms would let a flood of refusals starve the device."""
_MOST_LANES = 4
"""Batches that a CPU runs side by side at most: each needs the interpreter now and then."""
_BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}


class ModelChoice(BaseModel):
    """Which model a replica is to serve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str


class UserConfig(BaseModel):
    """Serve's user_config for this deployment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    champion: ModelChoice


@dataclass(frozen=True, slots=True)
class _Live:
    """A loaded model with its own batcher: a request stays with the one it began with."""

    model: LiveModel
    classifier: Classifier
    batcher: Batcher[Encoded, list[float]]


class ClassifierReplica:
    """One replica: one model on one device behind the routes of `api`."""

    def __init__(self) -> None:
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._settings = Settings()
        self._metrics = Metrics()
        self._live: _Live | None = None
        self._choice: ModelChoice | None = None
        self._loading = asyncio.Lock()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve calls this for the routes, after the constructor."""
        return build_api(self, self._settings, self._metrics)

    async def reconfigure(self, user_config: dict[str, Any], rank: ReplicaRank | None = None) -> None:
        """Make the model of `user_config` the live one. The model that was live answers until then.

        Args:
            user_config: as `UserConfig`; the same model twice does nothing.
            rank: of this replica among the deployment's; every rank serves the champion.

        Raises:
            ServiceError: the model could not be loaded; what was live stays live.
        """
        choice = UserConfig.model_validate(user_config).champion
        async with self._loading:
            if choice == self._choice:
                return
            previous, self._live = self._live, await self._load(choice.model)
            self._choice = choice
        self._show_metrics(self._live)
        self._announce(self._live.model, live=True)
        if previous is not None:
            self._announce(previous.model, live=False)
            await previous.batcher.close()

    def check_health(self) -> None:
        """Serve and the health routes call this.

        Raises:
            NotReady: no model is loaded.
            ModelFailure: the latest batch failed, or the device thread is dead or stuck.
        """
        live = self._require_live()
        self._show_metrics(live)
        live.batcher.check_health()

    @property
    def live(self) -> LiveModel:
        """The model that answers now. Raises NotReady before the first is loaded."""
        return self._require_live().model

    def check_room(self) -> None:
        """Raise QueueFull or NotReady if a request would be refused whatever it holds."""
        self._require_live().batcher.check_room()

    async def classify(self, texts: Sequence[str], *, deadline: float) -> Classified:
        """Score texts; see `service.Service`."""
        live = self._require_live()
        version = live.model.version
        began = time.monotonic()
        if sum(map(len, texts)) <= _INLINE_CHARS:
            items = live.classifier.preprocess(texts)
        else:
            items = await asyncio.to_thread(live.classifier.preprocess, texts)
        tokenize_s = time.monotonic() - began
        answer = await live.batcher.submit(items, deadline=deadline)
        self._metrics.stages(tokenize_s=tokenize_s, queue_s=answer.queue_s, version=version)
        labels = live.model.labels
        for scores in answer.results:
            self._metrics.prediction(labels[scores.index(max(scores))], version=version)
        return Classified(
            model=live.model,
            results=[
                Scored(scores, item.tokens, item.truncated)
                for scores, item in zip(answer.results, items, strict=True)
            ],
            timing=Timing(tokenize_s, answer.queue_s, answer.forward_s),
        )

    def _require_live(self) -> _Live:
        if self._live is None:
            raise NotReady("no model is loaded yet; try again in a few seconds")
        return self._live

    async def _load(self, uri: str) -> _Live:
        """Bring, verify, load and warm up a model, off the event loop."""
        process = psutil.Process()
        start_s = 0.0 if self._live else time.time() - process.create_time()
        clock = _Phases()
        before = process.memory_info().rss
        await asyncio.to_thread(_import_model_code)
        clock.end("import_s")
        imported = process.memory_info().rss
        # In a thread that ends: OpenMP keeps a team of workers for every thread that ever computed, and with
        # more of them than CPUs it puts them to sleep at once between two steps of a forward.
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as loader:
            bundle, classifier = await asyncio.get_running_loop().run_in_executor(loader, self._build, uri)
        clock.end("load_s")
        batcher = self._batcher(classifier, bundle.manifest.version)
        for batch in classifier.warm_up_batches(self._limits(classifier).max_batch_tokens):
            await batcher.submit(batch)
        clock.end("warm_up_s")
        phases = {"start_s": start_s, **clock.seconds}
        model = LiveModel(
            name=bundle.manifest.name,
            version=bundle.manifest.version,
            uri=uri,
            labels=classifier.labels,
            max_length=classifier.max_length,
            device=classifier.device,
            dtype=classifier.dtype,
            packed=classifier.packed,
            loaded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            startup={
                **{phase: round(seconds, 3) for phase, seconds in phases.items()},
                "import_memory_bytes": imported - before,
                "model_memory_bytes": process.memory_info().rss - imported,
            },
        )
        return _Live(model, classifier, batcher)

    def _build(self, uri: str) -> tuple[Any, Classifier]:
        from serve_app.model import store
        from serve_app.model.classifier import Classifier

        settings = self._settings
        bundle = store.fetch(uri, cache_dir=settings.cache_dir)
        threads = max(1, int(settings.replica_cpus))
        return bundle, Classifier(bundle, device=settings.device, dtype=settings.dtype, threads=threads)

    def _limits(self, classifier: Classifier) -> BatchLimits:
        settings = self._settings
        return BatchLimits(
            max_batch_tokens=settings.max_batch_tokens or _BATCH_TOKENS[classifier.device.partition(":")[0]],
            max_batch_items=settings.max_batch_items,
            max_queue_items=settings.max_queue_items,
            max_queue_tokens=settings.max_queue_tokens,
            max_queue_wait_s=settings.max_queue_wait_s,
        )

    def _batcher(self, classifier: Classifier, version: str) -> Batcher[Encoded, list[float]]:
        """The batcher of a model, its batches measured."""
        from serve_app.model.classifier import use_threads

        threads = max(1, int(self._settings.replica_cpus))
        lanes = min(threads, _MOST_LANES) if classifier.device == "cpu" else 1

        def forward(batch: Sequence[Encoded], alone: bool) -> list[list[float]]:
            use_threads(threads if alone else threads // lanes)
            began = time.monotonic()
            try:
                scores = classifier.forward(batch)
            except Exception:
                self._metrics.failed_batch(version=version)
                raise
            lengths = [item.tokens for item in batch]
            self._metrics.batch(
                items=len(batch),
                tokens=sum(lengths),
                computed_tokens=classifier.computed_tokens(lengths),
                forward_s=time.monotonic() - began,
                version=version,
            )
            return scores

        return Batcher(forward, self._limits(classifier), lanes=lanes)

    def _show_metrics(self, live: _Live) -> None:
        """Hand over the counts and set every gauge at health checks: Ray drops one not set for a while."""
        model = live.model
        self._metrics.model(name=model.name, version=model.version, device=model.device, dtype=model.dtype)
        self._metrics.startup({phase: s for phase, s in model.startup.items() if phase.endswith("_s")})
        self._metrics.waiting(live.batcher.waiting_items)
        self._metrics.flush()

    def _announce(self, model: LiveModel, *, live: bool) -> None:
        event = "model is live" if live else "model was replaced"
        _log.info(event, extra={"model": model.name, "version": model.version, "startup": model.startup})


class _Phases:
    """A stopwatch with named laps, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    def end(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._began = now - self._began, now


def _import_model_code() -> None:
    """The heavy imports, by themselves, so that the cold start shows what they cost."""
    import serve_app.model.classifier  # noqa: F401
