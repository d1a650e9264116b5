"""Heap trimming. glibc's malloc keeps freed memory, and keeps more of it with every model that was loaded."""

import ctypes
from contextlib import suppress


def trim_heap() -> None:
    """Release malloc's free memory to the operating system; no effect without glibc. Takes milliseconds."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
