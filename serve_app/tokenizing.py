"""Tokenising off the event loop: in slices, so that requests take turns, and not beyond the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from serve_app.errors import DeadlineExceeded, UnprocessableTextError
from serve_app.niceness import raise_niceness

_SLICE_CHARS = 32_000
"""Characters that a thread tokenises before it takes the next request: about 15 ms. Texts are not divided."""

Item = TypeVar("Item")


class TokenizerPool(Generic[Item]):
    """Threads that tokenise. The event loop's own.

    Args:
        encode: texts to items, one per text; raises UnprocessableTextError. Called by every thread.
        threads: number of threads, >= 1.
        niceness: increment of their niceness, as of nice(1).
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], list[Item]], *, threads: int, niceness: int = 0
    ) -> None:
        self._encode = encode
        # No method as initializer: the pool must not refer to what refers to it, or the model is freed late.
        self._pool = ThreadPoolExecutor(threads, "tokenizer", raise_niceness, (niceness,))

    async def encode(self, texts: Sequence[str], *, deadline: float | None) -> list[Item]:
        """Return one item per text, in their order.

        Args:
            texts: at least one.
            deadline: on `time.monotonic`'s clock; what is not begun then is not tokenised. None for no end.

        Raises:
            DeadlineExceeded: the deadline passed first.
            UnprocessableTextError: the tokenizer fails on one of them.
        """
        loop, items = asyncio.get_running_loop(), list[Item]()
        left_s = None if deadline is None else deadline - time.monotonic()
        late = DeadlineExceeded("the deadline passed before the texts were tokenised")
        if left_s is not None and left_s <= 0:
            raise late
        try:
            async with asyncio.timeout(left_s):
                for part in _slices(texts):
                    try:
                        items += await loop.run_in_executor(self._pool, self._encode, part)
                    except UnprocessableTextError as error:
                        raise UnprocessableTextError(str(error), len(items) + error.index) from error
        except TimeoutError:
            raise late from None
        return items

    def close(self) -> None:
        """End the threads; nothing may be running, or be asked afterwards."""
        self._pool.shutdown(wait=False)


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Successive texts of at most `_SLICE_CHARS` characters together, or one longer text."""
    start, chars = 0, 0
    for index, text in enumerate(texts):
        if index > start and chars + len(text) > _SLICE_CHARS:
            yield texts[start:index]
            start, chars = index, 0
        chars += len(text)
    yield texts[start:]
