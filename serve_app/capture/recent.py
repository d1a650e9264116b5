"""The answers that feedback can still be held against: the latest requests, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

MAX_REQUESTS = 20_000
"""About 10 MB. Feedback on what is older, or on another replica's answers, is stored all the same."""


class Recent:
    """Labels and version of the latest requests. The event loop's own."""

    def __init__(self, max_requests: int = MAX_REQUESTS) -> None:
        self._max_requests = max_requests
        self._answers: OrderedDict[str, tuple[tuple[str, ...], str]] = OrderedDict()

    def remember(self, request_id: str, labels: Sequence[str], version: str) -> None:
        """Keep a request's labels, in the order of its texts; the oldest request is forgotten for it."""
        self._answers[request_id] = (tuple(labels), version)
        self._answers.move_to_end(request_id)
        if len(self._answers) > self._max_requests:
            self._answers.popitem(last=False)

    def recall(self, request_id: str, index: int) -> tuple[str, str] | None:
        """(label, version) of a text; None if it is not remembered."""
        labels, version = self._answers.get(request_id, ((), ""))
        return (labels[index], version) if index < len(labels) else None
