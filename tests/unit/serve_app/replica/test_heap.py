"""Tests that freed memory returns to the system from any position in the heap."""

from __future__ import annotations

import platform

import psutil
import pytest

from serve_app.replica.heap import trim_heap

BLOCK_BYTES, BLOCKS = 100_000, 1000  # below malloc's threshold for separate memory maps


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_what_was_freed_below_something_kept_is_given_back() -> None:
    process = psutil.Process()
    blocks = [bytes(BLOCK_BYTES) + b"x" for _ in range(BLOCKS)]
    kept = blocks[::100]  # these blocks prevent the heap from shrinking at its end
    full = process.memory_info().rss
    blocks.clear()
    trim_heap()
    assert len(kept) == 10
    assert process.memory_info().rss < full - 0.5 * BLOCKS * BLOCK_BYTES
