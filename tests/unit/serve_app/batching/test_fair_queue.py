"""Tests of the fair queue: flows take turns, no text is lost, and the counts are exact."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from serve_app.batching.fair_queue import FairQueue, QueuedRequest


@dataclass(frozen=True)
class Text:
    name: str
    tokens: int


def request(name: str, *sizes: int, tenant: str = "", deadline: float | None = None) -> QueuedRequest[Text]:
    items = [Text(f"{name}{index}", size) for index, size in enumerate(sizes)]
    return QueuedRequest(items, tenant, deadline)


def names(batch: list[tuple[QueuedRequest[Text], int]]) -> list[str]:
    return [of.items[index].name for of, index in batch]


def test_requests_of_one_text_are_first_in_first_out() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    for name in "abcd":
        queue.push(request(name, 4))
    assert names(queue.take(12, 10, 0)) == ["a0", "b0", "c0"]
    queue.push(request("e", 4))
    assert names(queue.take(12, 10, 0)) == ["d0", "e0"]


def test_a_small_request_waits_for_one_turn_of_a_large_one() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    queue.push(request("large", *[5] * 100))
    queue.push(request("s", 5))
    assert queue.tokens_before("", 5) == 15
    assert names(queue.take(15, 10, 0)) == ["large0", "large1", "s0"]


def test_a_turn_that_a_full_batch_cuts_off_goes_on_in_the_next() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    queue.push(request("a", *[5] * 3))
    queue.push(request("b", *[5] * 3))
    taken = [name for _ in range(6) for name in names(queue.take(5, 10, 0))]
    assert taken == ["a0", "a1", "b0", "b1", "a2", "b2"]


def test_a_long_text_runs_alone_and_its_flow_then_waits_for_the_others() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    queue.push(request("long", 35, 5))
    queue.push(request("short", *[5] * 8))
    assert names(queue.take(10, 10, 0)) == ["long0"]
    assert names(queue.take(1000, 100, 0)) == [
        *(f"short{index}" for index in range(6)),
        "long1",
        "short6",
        "short7",
    ]


def test_tenants_take_turns_and_their_requests_take_turns_among_themselves() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    for name in ("a", "b", "c"):
        queue.push(request(name, *[5] * 4, tenant="many"))
    queue.push(request("s", 5, 5, tenant="few"))
    assert names(queue.take(40, 10, 0)) == ["a0", "b0", "s0", "s1", "c0", "a1", "b1", "c1"]
    assert queue.tokens_before("few", 5) < queue.tokens_before("many", 5)


def test_what_is_dropped_or_late_does_not_take_a_place_in_the_batch() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    gone, late, kept = (
        request("gone", 5, 5),
        request("late", 5, deadline=1.0),
        request("kept", 5, deadline=9.0),
    )
    for of in (gone, late, kept):
        queue.push(of)
    queue.drop(gone)
    assert (queue.items, queue.tokens) == (2, 10)
    assert names(queue.take(5, 1, 1.0)) == ["kept0"]
    assert (queue.items, queue.tokens, queue.take(5, 1, 1.0)) == (0, 0, [])


def test_a_text_without_a_token_is_refused_and_leaves_no_count_behind() -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(10)
    with pytest.raises(ValueError, match="without tokens"):
        queue.push(request("empty", 5, 0))
    assert (queue.items, queue.tokens, queue.take(10, 10, 0)) == (0, 0, [])


class Model(RuleBasedStateMachine):
    """State machine that compares the queue with a plain list of waiting texts."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[QueuedRequest[Text]] = FairQueue(20)
        self.waiting: dict[str, int] = {}
        self.requests: list[QueuedRequest[Text]] = []

    @rule(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=6), tenant=st.sampled_from(["", "a", "b"]))
    def push(self, sizes: list[int], tenant: str) -> None:
        of = request(f"{len(self.requests)}.", *sizes, tenant=tenant)
        self.requests.append(of)
        self.queue.push(of)
        self.waiting |= {item.name: item.tokens for item in of.items}

    @rule(max_tokens=st.integers(1, 100), max_items=st.integers(1, 8))
    def take(self, max_tokens: int, max_items: int) -> None:
        taken = names(self.queue.take(max_tokens, max_items, 0))
        assert len(taken) <= max_items and bool(taken) == bool(self.waiting)
        assert sum(self.waiting[name] for name in taken) <= max_tokens or len(taken) == 1
        for name in taken:
            del self.waiting[name]

    @rule(which=st.integers(0, 1000))
    def drop(self, which: int) -> None:
        if self.requests:
            of = self.requests[which % len(self.requests)]
            self.queue.drop(of)
            for item in of.items:
                self.waiting.pop(item.name, None)

    @invariant()
    def counts_are_exact(self) -> None:
        assert (self.queue.items, self.queue.tokens) == (len(self.waiting), sum(self.waiting.values()))
        assert 0 <= self.queue.tokens_before("a", 10) <= self.queue.tokens

    def teardown(self) -> None:
        left = [item.name for of in self.queue.drain() for item in of.items if item.name in self.waiting]
        assert sorted(left) == sorted(self.waiting)
        assert (self.queue.items, self.queue.tokens) == (0, 0)


TestFairQueueModel = Model.TestCase


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=30), min_size=2, max_size=8))
def test_no_flow_gets_ahead_of_another_by_more_than_a_turn_and_a_text(flows: list[list[int]]) -> None:
    queue: FairQueue[QueuedRequest[Text]] = FairQueue(20)
    requests = [request(f"{index}.", *sizes) for index, sizes in enumerate(flows)]
    for of in requests:
        queue.push(of)
    served = dict.fromkeys(requests, 0)
    while batch := queue.take(1, 1, 0):
        for of, index in batch:
            served[of] += of.items[index].tokens
        open_flows = [served[of] for of in requests if of.waiting_items]
        if open_flows:
            assert max(served.values()) - min(open_flows) <= 20 + 2 * 40
