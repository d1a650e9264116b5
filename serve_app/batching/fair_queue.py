"""The fair queue: which of the waiting texts go into the next batch.

Surplus round robin over flows: each flow in turn may take `quantum_tokens` of a batch, and what it takes
beyond that counts against its next turns. A flow is one request, or all requests of one tenant where tenants
are known, which then take turns text by text. So a request of one text waits for one turn of each flow that
is there, and not for all the texts of a large request in front of it; requests of one text each are first in,
first out. Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar


class Sized(Protocol):
    """A text as the queue sees it: something with a length in tokens."""

    @property
    def tokens(self) -> int:
        """Length in tokens, special tokens included; at least 1."""


Item = TypeVar("Item", bound=Sized)


@dataclass(slots=True, eq=False)
class QueuedRequest(Generic[Item]):
    """A request with its texts; those before `next_index` have left the queue.

    Attributes:
        items: its texts, at least one.
        tenant: whose it is; "" for nobody in particular, and then it has turns of its own.
        deadline: seconds on the caller's clock after which it is dropped, or None.
        next_index: of the text that is taken next.
        waiting_tokens: of the texts that wait; 0 once it is dropped.
        flow: of the queue that it is in; the queue's own.
    """

    items: Sequence[Item]
    tenant: str = ""
    deadline: float | None = None
    next_index: int = field(default=0, init=False)
    waiting_tokens: int = field(default=0, init=False)
    flow: Flow[Any] | None = field(default=None, init=False, repr=False)

    @property
    def waiting_items(self) -> int:
        """Number of texts that wait."""
        return len(self.items) - self.next_index if self.waiting_tokens else 0


Request = TypeVar("Request", bound=QueuedRequest[Any])


@dataclass(slots=True, eq=False)
class Flow(Generic[Request]):
    """Requests that share their turns.

    Attributes:
        requests: the next one first; those of which nothing waits any more are removed when their turn comes.
        waiting_tokens: of all of them.
        credit_tokens: that the flow may still take; at or below 0 its turn is over.
        has_turn: whether the credit of its present turn is granted.
        tenant: of its requests.
    """

    tenant: str

    requests: deque[Request] = field(default_factory=deque)
    waiting_tokens: int = 0
    credit_tokens: int = 0
    has_turn: bool = False


class FairQueue(Generic[Request]):
    """Requests that wait, in flows that take turns.

    Args:
        quantum_tokens: tokens that a flow may take in its turn, >= 1.

    Attributes:
        tokens: of all texts that wait.
        items: number of texts that wait.
    """

    def __init__(self, quantum_tokens: int) -> None:
        self._quantum_tokens = quantum_tokens
        self._flows: deque[Flow[Request]] = deque()  # the first one has the turn
        self._tenants: dict[str, Flow[Request]] = {}
        self._turn_tokens = 0  # that the flows take in one turn each
        self.tokens = 0
        self.items = 0

    def push(self, request: Request) -> None:
        """Queue all texts of a request.

        Raises:
            ValueError: a text has no token.
        """
        if any(item.tokens < 1 for item in request.items):
            raise ValueError("a text without a token cannot be queued")
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
        """Take the texts of a batch off the queue, as (request, index of the text).

        Args:
            max_tokens: of the batch; a single longer text is a batch by itself.
            max_items: of the batch.
            now: requests with a deadline at or before it are dropped.
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
        """Take what waits of a request off the queue."""
        self.items -= request.waiting_items
        if request.flow is not None:
            self._add_tokens(request.flow, -request.waiting_tokens)
        request.waiting_tokens = 0

    def drain(self) -> Iterator[Request]:
        """Take everything off the queue; yield each request of which something waited."""
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
        """Return how many tokens would leave the queue before the last of a new request's.

        Args:
            tenant: of the new request.
            tokens: of the new request.
        """
        flow = self._tenants.get(tenant)
        own_tokens = tokens + (flow.waiting_tokens if flow is not None else 0)
        turns = -(-own_tokens // self._quantum_tokens)
        return min(self.tokens, turns * self._turn_tokens)

    def _next_request(self, flow: Flow[Request], now: float) -> Request | None:
        """The first request of a flow of which something waits and whose deadline has not passed."""
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
