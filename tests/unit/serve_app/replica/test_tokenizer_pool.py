"""Tests of tokenisation outside the event loop: requests take turns, and work stops at the deadline."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from serve_app.errors import DeadlineExceededError, UnprocessableTextError
from serve_app.replica.tokenizer_pool import TokenizerPool


class Tokenizer:
    """Tokenizer that blocks until the test releases it, and records its inputs."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.entered, self.permits = threading.Semaphore(0), threading.Semaphore(0)

    def encode(self, texts: Sequence[str]) -> list[str]:
        self.calls.append([text[:2] for text in texts])
        self.entered.release()
        assert self.permits.acquire(timeout=30)
        for index, text in enumerate(texts):
            if text.startswith("bad"):
                raise UnprocessableTextError("cannot", index)
        return [f"tokens of {text[:2]}" for text in texts]


@pytest.fixture
def tokenizer() -> Iterator[Tokenizer]:
    tokenizer = Tokenizer()
    yield tokenizer
    tokenizer.permits.release(1000)


@pytest.fixture
def pool(tokenizer: Tokenizer) -> Iterator[TokenizerPool[str]]:
    pool = TokenizerPool(tokenizer.encode, threads=1)
    yield pool
    pool.close()


def long(name: str) -> str:
    return name + " " * 20_000


async def test_requests_take_turns_and_keep_their_order(
    tokenizer: Tokenizer, pool: TokenizerPool[str]
) -> None:
    large = asyncio.create_task(pool.encode([long(f"a{number}") for number in range(4)], deadline=None))
    assert await asyncio.to_thread(tokenizer.entered.acquire, timeout=30)
    small = asyncio.create_task(pool.encode(["b0", "b1"], deadline=None))
    await asyncio.sleep(0)
    tokenizer.permits.release(1000)
    assert await small == ["tokens of b0", "tokens of b1"]
    assert await large == [f"tokens of a{number}" for number in range(4)]
    assert tokenizer.calls[:2] == [["a0"], ["b0", "b1"]]


async def test_what_is_not_begun_at_the_deadline_is_not_tokenised(
    tokenizer: Tokenizer, pool: TokenizerPool[str]
) -> None:
    first = asyncio.create_task(pool.encode(["a0"], deadline=None))
    assert await asyncio.to_thread(tokenizer.entered.acquire, timeout=30)
    late = [pool.encode([long(name)] * 4, deadline=time.monotonic() + 0.05) for name in ("b0", "c0")]
    assert all(
        isinstance(one, DeadlineExceededError) for one in await asyncio.gather(*late, return_exceptions=True)
    )
    tokenizer.permits.release(1000)
    await first
    with pytest.raises(DeadlineExceededError):
        await pool.encode(["d0"], deadline=time.monotonic() - 1)
    assert await pool.encode(["e0"], deadline=time.monotonic() + 60) == ["tokens of e0"]
    assert tokenizer.calls == [["a0"], ["e0"]]


async def test_the_text_that_fails_is_named_by_its_index_in_the_request(
    tokenizer: Tokenizer, pool: TokenizerPool[str]
) -> None:
    tokenizer.permits.release(1000)
    with pytest.raises(UnprocessableTextError) as failure:
        await pool.encode([long("a0"), long("a1"), long("bad"), long("a3")], deadline=None)
    assert failure.value.index == 2
