"""Number of CPUs that this process may use: by affinity and by the limits of its cgroups, version 1 and 2.

A container with a limit of 2 CPUs on a node of 64 must not start 64 compute threads: the kernel would stop
all of them for most of each period of 100 ms.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MOUNT = Path("sys/fs/cgroup")


def usable_cpus(*, root: Path = Path("/"), available: int | None = None) -> int:
    """Return the number of CPUs that this process may use, at least 1; a limit of 2.5 CPUs counts as 2.

    Args:
        root: Root of the file system with `proc` and `sys`.
        available: Number of CPUs without cgroups; None for the process's affinity.
    """
    if available is None:
        has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
        available = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    limits = [_limit(folder) for folder in _folders(root)]
    return max(1, int(min([available, *(limit for limit in limits if limit is not None)])))


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders that may limit this process: of its cgroups and their parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = (controllers, "cpu") if controllers else (".", "unified")
        for mount in dict.fromkeys(root / _MOUNT / name for name in names):
            # In a container the mounted root is the container's cgroup, and the path may be that of the host.
            parts = Path(path.lstrip("/")).parts
            yield from (mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1))


def _limit(folder: Path) -> float | None:
    """Return the limit of a cgroup in CPUs, or None if it has none."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((folder / "cpu.cfs_quota_us").read_text())
        period_us = int((folder / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    return None
