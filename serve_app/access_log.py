"""The access log: one line a request, of a sample of them; never a text, a path as it was sent, or a key.

The lines go through the logger `ray.serve.access` to the handlers of Serve's own logger, and are JSON where
Serve's `logging_config` says so. A line costs some 70 µs, most of it in Serve's handler, which formats it
twice and flushes after it; that is why a sample is the default. Whether a request is in the sample follows
from its id alone: the first 8 hexadecimal digits of its SHA-256, divided by 2^32, are below the fraction.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from serve_app.service import Classified

_log = logging.getLogger("ray.serve.access")


class AccessLog:
    """The writer of the lines.

    Args:
        fraction: of the requests that is logged, 0 to 1. Answers with a status of 500 and more always are.
    """

    def __init__(self, fraction: float) -> None:
        self._below = fraction * 2**32

    def takes(self, request_id: str, status: int) -> bool:
        """Whether a request that ended with this status has a line."""
        if status >= 500 or self._below >= 2**32:
            return True
        digest = hashlib.sha256(request_id.encode()).digest()
        return int.from_bytes(digest[:4], "big") < self._below

    def write(
        self, facts: Mapping[str, Any], *, method: str, route: str, status: int, total_s: float
    ) -> None:
        """Log a request that has ended.

        Args:
            facts: of the request: `id`, and where they are known `version`, `key_id`, `texts` (how many it
                has) and `answer` (`Classified`).
            method: of HTTP.
            route: its template; "" for what is not served.
            status: of HTTP; 499 if the client left first.
            total_s: from the request's arrival at the replica.
        """
        answer: Classified | None = facts.get("answer")
        timing = answer.timing if answer else None
        fields = {
            "request_id": facts["id"],
            "method": method,
            "route": route,
            "status": status,
            "texts": facts.get("texts", 0),
            "tokens": sum(scored.tokens for scored in answer.results) if answer else 0,
            "queue_ms": round(1000 * timing.queue_s, 3) if timing else None,
            "forward_ms": round(1000 * timing.forward_s, 3) if timing else None,
            "total_ms": round(1000 * total_s, 3),
            "version": facts.get("version", ""),
            "key_id": facts.get("key_id", ""),
            # Serve's filters would look up, for each line, what this one holds already.
            "skip_context_filter": True,
        }
        _log.info("%s %s %d", method, route or "(no route)", status, extra=fields)
