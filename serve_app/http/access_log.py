"""Access log: one line per request for a sample of requests, without texts, raw paths or API keys.

The logger `ray.serve.access` passes the lines to the handlers of Serve's logger, which write JSON if Serve's
`logging_config` sets it. A line costs about 70 µs, most of it in Serve's handler, which formats it twice and
flushes; therefore only a sample is logged by default. The id of a request determines whether it is in the
sample: the first 8 hexadecimal digits of its SHA-256, divided by 2^32, must be below the fraction.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

from serve_app.interface import PredictionBatch

_log = logging.getLogger("ray.serve.access")


class AccessLog:
    """Writer of the access log.

    Args:
        fraction: Fraction of requests that is logged, 0 to 1. Status 500 and above is always logged.
    """

    def __init__(self, fraction: float) -> None:
        self._below = fraction * 2**32

    def takes(self, request_id: str, status: int) -> bool:
        """Return whether a request with this status is logged."""
        if status >= 500 or self._below >= 2**32:
            return True
        digest = hashlib.sha256(request_id.encode()).digest()
        return int.from_bytes(digest[:4], "big") < self._below

    def write(
        self, facts: Mapping[str, Any], *, method: str, route: str, status: int, total_s: float
    ) -> None:
        """Log a request that has ended.

        Args:
            facts: State of the request: `id`, and if known `version`, `key_id`, `texts` (their number) and
                `answer` (`PredictionBatch`).
            method: HTTP method.
            route: Template of the route; "" if no route matches.
            status: HTTP status; 499 if the client disconnected.
            total_s: Seconds since the request's arrival at the replica.
        """
        answer: PredictionBatch | None = facts.get("answer")
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
            # Serve's filters would determine these fields again for each line.
            "skip_context_filter": True,
        }
        _log.info("%s %s %d", method, route or "(no route)", status, extra=fields)
