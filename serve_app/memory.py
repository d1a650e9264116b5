"""Gives freed memory back to the operating system: glibc's malloc keeps it, and more with every model."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Return what is free in malloc's arenas; nothing where malloc is not glibc's. Takes milliseconds."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
