"""What ends a service that is live: Ray's end, or the loss of its application."""

from __future__ import annotations

import time

import httpx
import psutil

_LOOK_S = 0.5
_ASK_S = 4.0
_GONE_ANSWERS = 2
"""Consecutive answers without the application: a controller that is being replaced has none for a moment."""


def why_it_ended(node: psutil.Process, applications: str, name: str, client: httpx.Client) -> str:
    """Wait until the service has ended by itself.

    Args:
        node: the process that ends when Ray does.
        applications: URL of Serve's applications.
        name: of the application.
        client: speaks HTTP.

    Returns:
        What has happened, and the next step.
    """
    asked, gone = time.monotonic(), 0
    while node.is_running() and node.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() >= asked + _ASK_S:
            asked = time.monotonic()
            gone = gone + 1 if _is_gone(client, applications, name) else 0
            if gone == _GONE_ANSWERS:
                return (
                    f'the application "{name}" is gone: another process deleted or replaced it, or shut '
                    "Serve down; start the service again"
                )
        time.sleep(_LOOK_S)
    return "Ray has ended, and with it the service; start it again"


def _is_gone(client: httpx.Client, applications: str, name: str) -> bool:
    """Return whether Serve has no such application; False where Serve does not say."""
    try:
        answer = client.get(applications, timeout=10)
        return answer.is_success and name not in answer.json()["applications"]
    except (httpx.TransportError, ValueError, KeyError):
        return False
