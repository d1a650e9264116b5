"""Monitor of a local service: detects that Ray has ended, or that the application is gone."""

from __future__ import annotations

import time

import httpx
import psutil

_PROCESS_CHECK_S = 0.5
_APPLICATION_CHECK_S = 4.0
_GONE_ANSWERS = 2
"""Consecutive responses without the application; a new Serve controller briefly reports none."""


def why_it_ended(node: psutil.Process, applications: str, name: str, client: httpx.Client) -> str:
    """Wait until the service has ended by itself.

    Args:
        node: The process that ends when Ray ends.
        applications: URL of Serve's REST API for applications.
        name: Name of the application.
        client: HTTP client.

    Returns:
        The reason and the next step.
    """
    checked_at, gone = time.monotonic(), 0
    while node.is_running() and node.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() >= checked_at + _APPLICATION_CHECK_S:
            checked_at = time.monotonic()
            gone = gone + 1 if _is_gone(client, applications, name) else 0
            if gone == _GONE_ANSWERS:
                return (
                    f'the application "{name}" is gone: another process deleted or replaced it, or shut '
                    "Serve down; start the service again"
                )
        time.sleep(_PROCESS_CHECK_S)
    return "Ray has ended, and with it the service; start it again"


def _is_gone(client: httpx.Client, applications: str, name: str) -> bool:
    """Return whether Serve reports that the application does not exist."""
    try:
        answer = client.get(applications, timeout=10)
        return answer.is_success and name not in answer.json()["applications"]
    except (httpx.TransportError, ValueError, KeyError):
        return False
