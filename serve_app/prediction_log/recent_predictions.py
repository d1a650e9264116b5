"""Recent predictions, with which feedback is compared, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

MAX_REQUESTS = 20_000
"""About 10 MB. Feedback on older predictions, or on those of another replica, is stored without a
comparison."""


class RecentPredictions:
    """Labels and version of the latest requests. Not thread-safe; use it from the event loop."""

    def __init__(self, max_requests: int = MAX_REQUESTS) -> None:
        self._max_requests = max_requests
        self._answers: OrderedDict[str, tuple[tuple[str, ...], str]] = OrderedDict()

    def remember(self, request_id: str, labels: Sequence[str], version: str) -> None:
        """Store a request's labels, in the order of its texts; drop the oldest request if necessary."""
        self._answers[request_id] = (tuple(labels), version)
        self._answers.move_to_end(request_id)
        if len(self._answers) > self._max_requests:
            self._answers.popitem(last=False)

    def recall(self, request_id: str, index: int) -> tuple[str, str] | None:
        """Return (label, version) of a text, or None if its request is not stored."""
        labels, version = self._answers.get(request_id, ((), ""))
        return (labels[index], version) if index < len(labels) else None
