"""Scheduling priority of threads: compute threads yield to the event loop."""

from __future__ import annotations

import os
import threading


def raise_niceness(increment: int) -> None:
    """Raise the niceness of the calling thread, as nice(1) does; 0 leaves it unchanged."""
    if increment:
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + increment)
