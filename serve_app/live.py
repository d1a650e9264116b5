"""A loaded model with its own batcher: brought and warmed up off the event loop, let go when unused."""

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
from serve_app.errors import BundleInvalid, ServiceError
from serve_app.metrics import Metrics
from serve_app.service import LiveModel
from serve_app.settings import BATCH_TOKENS, Settings
from serve_app.tokenizing import TokenizerPool

if TYPE_CHECKING:
    from serve_app.model.classifier import Classifier, Encoded
    from serve_app.model.store import Bundle

_INLINE_CHARS = 4000
"""Texts up to this length together are tokenised in the event loop (about a millisecond); longer ones in a
thread, so that one long request does not hold up the others."""
_MOST_LANES = 4
"""Batches that a CPU runs side by side at most: each needs the interpreter now and then."""
_LANE_NICENESS = 10
"""Where the device is the CPU, who answers goes before who computes: a flood of refusals takes little time,
but where it waits for a core, everybody waits."""
_FLOOD_BATCH = {"cpu": 0.5, "cuda": 1.0}


class Live:
    """A model that can answer: a request stays with the one it began with, to its end.

    The event loop's own.

    Attributes:
        model: what it is.
        batcher: its queue and device threads.
    """

    def __init__(
        self,
        model: LiveModel,
        classifier: Classifier,
        batcher: Batcher[Encoded, list[float]],
        tokenizers: TokenizerPool[Encoded],
    ) -> None:
        self.model = model
        self.batcher = batcher
        self._classifier = classifier
        self._tokenizers = tokenizers
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextmanager
    def used(self) -> Iterator[None]:
        """While the block runs, `let_go` waits."""
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
    ) -> list[Encoded]:
        """Tokenise texts, short ones in the event loop if `inline`; one result per text, in their order.

        Raises:
            DeadlineExceeded: the deadline passed first.
            UnprocessableTextError: the tokenizer fails on one of them.
        """
        if inline and sum(map(len, texts)) <= _INLINE_CHARS:
            return self._classifier.preprocess(texts)
        return await self._tokenizers.encode(texts, deadline=deadline)

    async def score(
        self,
        items: Sequence[Encoded],
        *,
        deadline: float | None,
        tenant: str = "",
        priority: Priority | None = None,
    ) -> Answer[list[float]]:
        """Scores of encoded texts; arguments and errors are those of `Batcher.submit`."""
        return await self.batcher.submit(items, deadline=deadline, tenant=tenant, priority=priority)

    async def let_go(self) -> None:
        """Wait until nobody uses it any more, then end its threads. It must not be handed out again."""
        await self._unused.wait()
        await self.batcher.close()
        self._tokenizers.close()
        self._classifier.close()


async def load(uri: str, settings: Settings, metrics: Metrics, *, beside: bool) -> Live:
    """Bring, verify, load and warm up a model, off the event loop.

    Args:
        uri: its address.
        settings: of the replica.
        metrics: takes its batches.
        beside: whether another model answers meanwhile; the load then keeps to one thread.

    Raises:
        ServiceError: it could not be brought, verified, loaded or run.
    """
    try:
        with nullcontext() if beside else _no_cycle_collection():
            return await _load(uri, settings, metrics, beside)
    except ServiceError:
        raise
    except Exception as error:  # whatever a library says of a broken model, the replica must outlive it
        message = f"{uri} could not be loaded: {error!r}; try it alone with `make serve MODEL={uri}`"
        raise BundleInvalid(message) from error


async def _load(uri: str, settings: Settings, metrics: Metrics, beside: bool) -> Live:
    process = psutil.Process()
    start_s = 0.0 if beside else time.time() - process.create_time()
    clock = _Phases()
    before = process.memory_info().rss
    await asyncio.to_thread(_import_model_code)
    clock.end("import_s")
    imported = process.memory_info().rss
    threads = 1 if beside else _threads(settings)
    # In a thread that ends: OpenMP keeps a team of workers for every thread that ever computed, and with
    # more of them than CPUs it puts them to sleep at once between two steps of a forward.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as loader:
        loop = asyncio.get_running_loop()
        bundle, classifier = await loop.run_in_executor(loader, _build, uri, settings, threads)
    clock.end("load_s")
    limits = _limits(settings, classifier)
    batcher = _batcher(classifier, bundle.manifest.version, limits, settings, metrics)
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
    )
    # Half of the threads: on a CPU the others compute meanwhile.
    tokenizers = TokenizerPool(
        classifier.preprocess, threads=max(1, _threads(settings) // 2), niceness=_niceness(classifier)
    )
    return Live(model, classifier, batcher, tokenizers)


def _build(uri: str, settings: Settings, threads: int) -> tuple[Bundle, Classifier]:
    from serve_app.model import store
    from serve_app.model.classifier import Classifier

    bundle = store.fetch(uri, cache_dir=settings.cache_dir)
    return bundle, Classifier(bundle, device=settings.device, dtype=settings.dtype, threads=threads)


def _limits(settings: Settings, classifier: Classifier) -> BatchLimits:
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


def _lanes(classifier: Classifier, settings: Settings) -> int:
    """Batches that run side by side."""
    return min(_threads(settings), _MOST_LANES) if classifier.device == "cpu" else 1


def _niceness(classifier: Classifier) -> int:
    return _LANE_NICENESS if classifier.device == "cpu" else 0


def _threads(settings: Settings) -> int:
    return max(1, int(settings.replica_cpus))


def _batcher(
    classifier: Classifier, version: str, limits: BatchLimits, settings: Settings, metrics: Metrics
) -> Batcher[Encoded, list[float]]:
    """The batcher of a model, its batches measured."""
    from serve_app.model.classifier import WARM_UP_TEXT, use_threads

    threads, lanes = _threads(settings), _lanes(classifier, settings)

    def forward(batch: Sequence[Encoded], alone: bool) -> list[list[float]]:
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
    return Batcher(forward, limits, lanes=lanes, niceness=_niceness(classifier), probe=probe)


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """Spare a cold start the cycle collector, which would look again and again through what only grows.

    A sixth of the imports' time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


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
