"""The niceness of threads: who computes goes after who answers."""

from __future__ import annotations

import os
import threading


def raise_niceness(increment: int) -> None:
    """Raise the niceness of the calling thread, as of nice(1); 0 leaves it as it is."""
    if increment:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + increment)
