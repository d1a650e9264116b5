"""Loaded model with its batcher: loaded and warmed up off the event loop, closed when no request uses it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil

from serve_app.batching.admission import BatchLimits, Priority
from serve_app.batching.batcher import Answer, Batcher
from serve_app.batching.niceness import raise_niceness
from serve_app.batching.thread_scaling import measure_min_parallel_tokens
from serve_app.cpu_limits import usable_cpus
from serve_app.errors import InvalidBundleError, ServiceError
from serve_app.interface import NEUTRAL, LiveModel
from serve_app.metrics import Metrics
from serve_app.model.card import read_card
from serve_app.replica.tokenizer_pool import TokenizerPool
from serve_app.settings import BATCH_TOKENS, Settings

if TYPE_CHECKING:
    from serve_app.model.resolver import Bundle
    from serve_app.model.scorer import EncodedText, Scorer

_INLINE_CHARS = 4000
"""Maximum total length of texts that are tokenised in the event loop (about 1 ms); longer requests are
tokenised in a thread, so that they do not delay others."""
_MOST_LANES = 4
"""Maximum number of batches that a CPU runs in parallel: each needs the interpreter lock at times."""
_LANE_NICENESS = 10
"""On a CPU the event loop has priority over compute threads: refusing a flood of requests takes little time,
but every request waits if the event loop does not get a core."""
_FLOOD_BATCH = {"cpu": 0.5, "cuda": 1.0}


class LoadedModel:
    """Loaded model. A request uses the same one from start to end, also while models are swapped.

    Not thread-safe; use it from the event loop.

    Attributes:
        model: Description of the model.
        batcher: Queue and device threads of the model.
        min_parallel_tokens: Number of tokens from which a batch that is alone uses all threads.
    """

    def __init__(
        self,
        model: LiveModel,
        classifier: Scorer,
        batcher: Batcher[EncodedText, list[float]],
        tokenizers: TokenizerPool[EncodedText],
        min_parallel_tokens: float,
    ) -> None:
        self.model = model
        self.batcher = batcher
        self.min_parallel_tokens = min_parallel_tokens
        self._classifier = classifier
        self._tokenizers = tokenizers
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Keep the model open while the block runs: `drain_and_close` waits for it."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def encode(
        self, texts: Sequence[str], *, deadline: float | None, inline: bool = True
    ) -> list[EncodedText]:
        """Tokenise texts, short ones in the event loop if `inline`; return one result per text, in order.

        Raises:
            DeadlineExceededError: The deadline passed.
            UnprocessableTextError: The tokenizer fails on one of the texts.
        """
        if inline and sum(map(len, texts)) <= _INLINE_CHARS:
            return self._classifier.preprocess(texts)
        return await self._tokenizers.encode(texts, deadline=deadline)

    async def score(
        self,
        items: Sequence[EncodedText],
        *,
        deadline: float | None,
        tenant: str = "",
        priority: Priority | None = None,
    ) -> Answer[list[float]]:
        """Return the scores of encoded texts; arguments and errors are those of `Batcher.submit`."""
        return await self.batcher.submit(items, deadline=deadline, tenant=tenant, priority=priority)

    async def drain_and_close(self) -> None:
        """Wait until no request uses the model, then stop its threads. No new use may begin."""
        await self._unused.wait()
        await self.batcher.close()
        self._tokenizers.close()
        self._classifier.close()


async def load(
    uri: str, settings: Settings, metrics: Metrics, *, concurrent_with_serving: LoadedModel | None
) -> LoadedModel:
    """Download, verify, load and warm up a model, off the event loop.

    Args:
        uri: URI of the model.
        settings: Settings of the replica.
        metrics: Counts the model's batches.
        concurrent_with_serving: Model that serves meanwhile, if any: loading then uses one thread, and takes
            over that model's `min_parallel_tokens`, because a measurement would show the load.

    Raises:
        ServiceError: The model could not be downloaded, verified, loaded or run.
    """
    try:
        with _no_cycle_collection() if concurrent_with_serving is None else nullcontext():
            return await _load(uri, settings, metrics, concurrent_with_serving)
    except ServiceError:
        raise
    except Exception as error:  # no error of a library about a broken model may end the replica
        message = f"{uri} could not be loaded: {error!r}; reproduce it with `make serve MODEL={uri}`"
        raise InvalidBundleError(message) from error


async def _load(
    uri: str, settings: Settings, metrics: Metrics, concurrent_with_serving: LoadedModel | None
) -> LoadedModel:
    process = psutil.Process()
    start_s = 0.0 if concurrent_with_serving else time.time() - process.create_time()
    clock = _Phases()
    before = process.memory_info().rss
    await asyncio.to_thread(_import_model_code)
    clock.end("import_s")
    imported = process.memory_info().rss
    threads = 1 if concurrent_with_serving else _threads(settings)
    # In a thread that ends afterwards: OpenMP keeps a team of workers for every thread that has computed, and
    # with more workers than CPUs they sleep between the steps of a forward pass instead of spinning.
    # Threads that it starts inherit its niceness.
    niceness = _LANE_NICENESS if concurrent_with_serving else 0
    with ThreadPoolExecutor(1, "load", raise_niceness, (niceness,)) as loader:
        loop = asyncio.get_running_loop()
        bundle, classifier = await loop.run_in_executor(loader, _build, uri, settings, threads)
        card = await loop.run_in_executor(loader, read_card, bundle.folder)
        clock.end("load_s")
        if concurrent_with_serving:
            min_parallel_tokens = concurrent_with_serving.min_parallel_tokens
        else:
            min_parallel_tokens = await loop.run_in_executor(
                loader, _min_parallel_tokens, classifier, settings
            )
    limits = _limits(settings, classifier)
    batcher = _batcher(classifier, bundle.manifest.version, limits, min_parallel_tokens, settings, metrics)
    try:
        for batch in classifier.warm_up_batches(limits.max_batch_tokens, _lanes(classifier, settings)):
            await batcher.submit(batch[: limits.max_queue_items], priority="interactive")
    except BaseException:
        await batcher.close()
        classifier.close()
        raise
    clock.end("warm_up_s")
    phases = {"start_s": start_s, **clock.seconds}
    model = LiveModel(
        name=bundle.manifest.name,
        version=bundle.manifest.version,
        uri=uri,
        digest=bundle.manifest.digest,
        labels=classifier.labels,
        activation=classifier.activation,
        max_length=classifier.max_length,
        device=classifier.device,
        dtype=classifier.dtype,
        packed=classifier.packed,
        graph=classifier.graph,
        loaded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        startup={
            **{phase: round(seconds, 3) for phase, seconds in phases.items()},
            "import_memory_bytes": imported - before,
            "model_memory_bytes": process.memory_info().rss - imported,
        },
        neutral_below=_neutral_below(classifier, settings),
        languages=card.languages,
        license=card.license,
    )
    # Half of the threads, because on a CPU the other half computes at the same time.
    tokenizers = TokenizerPool(
        classifier.preprocess, threads=max(1, _threads(settings) // 2), niceness=_niceness(classifier)
    )
    return LoadedModel(model, classifier, batcher, tokenizers, min_parallel_tokens)


def _build(uri: str, settings: Settings, threads: int) -> tuple[Bundle, Scorer]:
    from serve_app.model import resolver
    from serve_app.model.recording_cache import load_or_record

    bundle = resolver.fetch(uri, cache_dir=settings.cache_dir)
    scorer = load_or_record(
        bundle,
        device=settings.device,
        dtype=settings.precision,
        threads=threads,
        root=settings.cache_dir / "recordings",
    )
    return bundle, scorer


def _neutral_below(classifier: Scorer, settings: Settings) -> float | None:
    """Return the threshold of NEUTRAL answers, or None for a model to which it does not apply."""
    has_label = any(label.upper() == NEUTRAL for label in classifier.labels)
    return None if has_label or classifier.activation != "softmax" else settings.neutral_below


def _limits(settings: Settings, classifier: Scorer) -> BatchLimits:
    device = classifier.device.partition(":")[0]
    return BatchLimits(
        max_batch_tokens=settings.max_batch_tokens or BATCH_TOKENS[device],
        flood_batch=_FLOOD_BATCH[device],
        max_batch_items=settings.max_batch_items,
        max_queue_items=settings.max_queue_items,
        max_queue_tokens=settings.max_queue_tokens,
        max_queue_wait_s=settings.max_queue_wait_s,
        max_bulk_wait_s=settings.max_bulk_wait_s,
    )


def _lanes(classifier: Scorer, settings: Settings) -> int:
    """Return the number of batches that run in parallel."""
    return min(_threads(settings), _MOST_LANES) if classifier.device == "cpu" else 1


def _niceness(classifier: Scorer) -> int:
    return _LANE_NICENESS if classifier.device == "cpu" else 0


def _threads(settings: Settings) -> int:
    return min(max(1, int(settings.replica_cpus)), usable_cpus())


def _min_parallel_tokens(classifier: Scorer, settings: Settings) -> float:
    """Return the number of tokens from which a batch that is alone uses all threads."""
    from serve_app.model.scorer import use_threads

    threads, lanes = _threads(settings), _lanes(classifier, settings)
    if lanes == 1:
        return 0.0

    def run(batch: Sequence[EncodedText], on_all: bool) -> object:
        use_threads(threads if on_all else threads // lanes)
        return classifier.forward(batch)

    return measure_min_parallel_tokens(run, [(item.tokens, [item]) for item in classifier.texts_by_length()])


def _batcher(
    classifier: Scorer,
    version: str,
    limits: BatchLimits,
    min_parallel_tokens: float,
    settings: Settings,
    metrics: Metrics,
) -> Batcher[EncodedText, list[float]]:
    """Return a batcher for the model that reports its batches to `metrics`."""
    from serve_app.model.scorer import WARM_UP_TEXT, use_threads

    threads, lanes = _threads(settings), _lanes(classifier, settings)

    def forward(batch: Sequence[EncodedText], alone: bool) -> list[list[float]]:
        use_threads(threads if alone else threads // lanes)
        began = time.monotonic()
        try:
            scores = classifier.forward(batch)
        except Exception:
            metrics.failed_batch(version=version)
            raise
        lengths = [item.tokens for item in batch]
        metrics.batch(
            items=len(batch),
            tokens=sum(lengths),
            computed_tokens=classifier.computed_tokens(lengths),
            forward_s=time.monotonic() - began,
            version=version,
        )
        return scores

    [probe] = classifier.preprocess([WARM_UP_TEXT])
    return Batcher(
        forward,
        limits,
        lanes=lanes,
        min_parallel_tokens=min_parallel_tokens,
        niceness=_niceness(classifier),
        probe=probe,
    )


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Disable the cycle collector, which would repeatedly scan a heap that only grows during a cold start.

    This saves a sixth of the import time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class _Phases:
    """Stopwatch with named phases, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    def end(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._began = now - self._began, now


def _import_model_code() -> None:
    """Import the large libraries separately, so that their share of the cold start is visible.

    transformers is imported only for a model without a recording, as a part of its load.
    """
    import serve_app.model.recording_cache  # noqa: F401
