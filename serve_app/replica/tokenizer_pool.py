"""Tokenisation in threads, in slices: requests take turns, and stop at their deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from serve_app.batching.niceness import raise_niceness
from serve_app.errors import DeadlineExceededError, UnprocessableTextError

_SLICE_CHARS = 32_000
"""Characters that a thread tokenises before the next request's turn: about 15 ms. A text is not divided."""

Item = TypeVar("Item")


class TokenizerPool(Generic[Item]):
    """Pool of tokenizer threads. Not thread-safe; use it from the event loop.

    Args:
        encode: Encodes texts, one item per text; raises UnprocessableTextError. Every thread calls it.
        threads: Number of threads, >= 1.
        niceness: Increment of the threads' niceness, as for nice(1).
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], list[Item]], *, threads: int, niceness: int = 0
    ) -> None:
        self._encode = encode
        # The initializer is not a method: a reference cycle with the pool would delay freeing the model.
        self._pool = ThreadPoolExecutor(threads, "tokenizer", raise_niceness, (niceness,))

    async def encode(self, texts: Sequence[str], *, deadline: float | None) -> list[Item]:
        """Return one item per text, in their order.

        Args:
            texts: At least one text.
            deadline: Time on the clock of `time.monotonic` after which no slice is started; None for none.

        Raises:
            DeadlineExceededError: The deadline passed.
            UnprocessableTextError: The tokenizer fails on one of the texts.
        """
        loop, items = asyncio.get_running_loop(), list[Item]()
        left_s = None if deadline is None else deadline - time.monotonic()
        late = DeadlineExceededError("the deadline passed before the texts were tokenised")
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
        """Stop the threads. No call may be running, and none may follow."""
        self._pool.shutdown(wait=False)


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield slices of successive texts: at most `_SLICE_CHARS` characters in total, or one longer text."""
    start, chars = 0, 0
    for index, text in enumerate(texts):
        if index > start and chars + len(text) > _SLICE_CHARS:
            yield texts[start:index]
            start, chars = index, 0
        chars += len(text)
    yield texts[start:]
