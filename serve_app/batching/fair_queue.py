"""Fair queue: selects which queued texts go into the next batch.

It is a surplus round robin over flows: each flow in turn may take `quantum_tokens` of a batch, and a surplus
counts against its next turns. A flow is one request, or all requests of one tenant if tenants are known,
which take turns text by text. A request with one text therefore waits for one turn of each existing flow, not
for all texts of a large request in front of it. Requests with one text each are first in, first out. Not
thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar


class SizedText(Protocol):
    """Text with a length in tokens."""

    @property
    def tokens(self) -> int:
        """Length in tokens, with special tokens; at least 1."""


Item = TypeVar("Item", bound=SizedText)


@dataclass(slots=True, eq=False)
class QueuedRequest(Generic[Item]):
    """Request with its texts; those before `next_index` have left the queue.

    Attributes:
        items: Texts, at least one.
        tenant: Sender of the request; a request without one ("") has its own turns.
        deadline: Seconds on the caller's clock after which it is dropped, or None.
        next_index: Index of the text that is taken next.
        waiting_tokens: Number of tokens of the queued texts; 0 once the request is dropped.
        flow: Flow of the request, set by the queue.
    """

    items: Sequence[Item]
    tenant: str = ""
    deadline: float | None = None
    next_index: int = field(default=0, init=False)
    waiting_tokens: int = field(default=0, init=False)
    flow: Flow[Any] | None = field(default=None, init=False, repr=False)

    @property
    def waiting_items(self) -> int:
        """Number of queued texts."""
        return len(self.items) - self.next_index if self.waiting_tokens else 0


Request = TypeVar("Request", bound=QueuedRequest[Any])


@dataclass(slots=True, eq=False)
class Flow(Generic[Request]):
    """Requests that share their turns.

    Attributes:
        requests: Requests, the next one first. Requests without queued texts are removed when their turn
            comes.
        waiting_tokens: Number of queued tokens of all requests.
        credit_tokens: Number of tokens that the flow may still take; at or below 0 its turn is over.
        has_turn: Whether the credit of the current turn has been granted.
        tenant: Tenant of the requests.
    """

    tenant: str

    requests: deque[Request] = field(default_factory=deque)
    waiting_tokens: int = 0
    credit_tokens: int = 0
    has_turn: bool = False


class FairQueue(Generic[Request]):
    """Queued requests, in flows that take turns.

    Args:
        quantum_tokens: Number of tokens that a flow may take per turn, >= 1.

    Attributes:
        tokens: Number of queued tokens.
        items: Number of queued texts.
    """

    def __init__(self, quantum_tokens: int) -> None:
        self._quantum_tokens = quantum_tokens
        self._flows: deque[Flow[Request]] = deque()  # the first one has the turn
        self._tenants: dict[str, Flow[Request]] = {}
        self._turn_tokens = 0  # number of tokens that all flows take in one turn each
        self.tokens = 0
        self.items = 0

    def push(self, request: Request) -> None:
        """Queue all texts of a request.

        Raises:
            ValueError: A text has no tokens.
        """
        if any(item.tokens < 1 for item in request.items):
            raise ValueError("a text without tokens cannot be queued")
        flow = self._tenants.get(request.tenant) if request.tenant else None
        if flow is None:
            flow = Flow(request.tenant)
            self._flows.append(flow)
            if request.tenant:
                self._tenants[request.tenant] = flow
        flow.requests.append(request)
        request.flow = flow
        request.waiting_tokens = sum(item.tokens for item in request.items)
        self.items += len(request.items)
        self._add_tokens(flow, request.waiting_tokens)

    def take(self, max_tokens: float, max_items: int, now: float) -> list[tuple[Request, int]]:
        """Remove the texts of a batch from the queue, and return them as (request, index of the text).

        Args:
            max_tokens: Maximum number of tokens of the batch; a single longer text is a batch by itself.
            max_items: Maximum number of texts of the batch.
            now: Current time; requests with a deadline at or before it are dropped.
        """
        batch: list[tuple[Request, int]] = []
        tokens = 0
        while self._flows and len(batch) < max_items:
            flow = self._flows[0]
            request = self._next_request(flow, now)
            if request is None:
                self._remove_first_flow()
                continue
            if not flow.has_turn:
                flow.credit_tokens += self._quantum_tokens
                flow.has_turn = True
            if flow.credit_tokens <= 0:
                flow.has_turn = False
                self._flows.rotate(-1)
                continue
            size = request.items[request.next_index].tokens
            if batch and tokens + size > max_tokens:
                break
            batch.append((request, request.next_index))
            tokens += size
            request.next_index += 1
            request.waiting_tokens -= size
            self.items -= 1
            flow.credit_tokens -= size
            self._add_tokens(flow, -size)
            flow.requests.rotate(-1)
        return batch

    def drop(self, request: Request) -> None:
        """Remove the remaining texts of a request from the queue."""
        self.items -= request.waiting_items
        if request.flow is not None:
            self._add_tokens(request.flow, -request.waiting_tokens)
        request.waiting_tokens = 0

    def drain(self) -> Iterator[Request]:
        """Empty the queue; yield each request with queued texts."""
        while self._flows:
            flow = self._flows[0]
            while flow.requests:
                request = flow.requests[0]
                if request.waiting_tokens:
                    yield request
                    self.drop(request)
                flow.requests.popleft()
            self._remove_first_flow()

    def tokens_before(self, tenant: str, tokens: int) -> int:
        """Return the number of tokens that would leave the queue before the last token of a new request.

        Args:
            tenant: Tenant of the new request.
            tokens: Number of tokens of the new request.
        """
        flow = self._tenants.get(tenant)
        own_tokens = tokens + (flow.waiting_tokens if flow is not None else 0)
        turns = -(-own_tokens // self._quantum_tokens)
        return min(self.tokens, turns * self._turn_tokens)

    def _next_request(self, flow: Flow[Request], now: float) -> Request | None:
        """Return the first request of a flow with queued texts whose deadline has not passed."""
        while flow.requests:
            request = flow.requests[0]
            if request.waiting_tokens and request.deadline is not None and request.deadline <= now:
                self.drop(request)
            if request.waiting_tokens:
                return request
            flow.requests.popleft()
        return None

    def _remove_first_flow(self) -> None:
        self._tenants.pop(self._flows.popleft().tenant, None)

    def _add_tokens(self, flow: Flow[Request], tokens: int) -> None:
        before = min(flow.waiting_tokens, self._quantum_tokens)
        flow.waiting_tokens += tokens
        self.tokens += tokens
        self._turn_tokens += min(flow.waiting_tokens, self._quantum_tokens) - before
