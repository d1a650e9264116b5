"""Tests of the batcher's guarantees, on a device that the test controls."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.batching.admission import BatchLimits
from serve_app.batching.batcher import Batcher
from serve_app.errors import (
    DeadlineExceededError,
    ModelFailureError,
    NotReadyError,
    PayloadTooLargeError,
    QueueFullError,
    UnprocessableTextError,
)


@dataclass(frozen=True)
class Text:
    """Item whose result contains its name, so that swapped results are detected."""

    name: str
    tokens: int = 1


@dataclass
class Device:
    """Device whose forward pass blocks until the test releases it, and which records its batches."""

    batches: list[list[str]] = field(default_factory=list)
    alone: list[bool] = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    held: bool = True
    fail_on: str = ""
    die_on: str = ""

    def forward(self, batch: Sequence[Text], alone: bool) -> list[str]:
        names = [item.name for item in batch]
        self.batches.append(names)
        self.alone.append(alone)
        self.entered.release()
        if self.held:
            assert self.permits.acquire(timeout=30)
        if self.fail_on in names:
            raise RuntimeError(f"cannot read {self.fail_on}")
        if self.die_on in names:
            raise SystemExit("the device is gone")
        return [f"answer to {item.name}" for item in batch]

    def let_go(self) -> None:
        self.held = False
        self.permits.release(1000)

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


class FakeClock:
    """Clock whose time the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


Make = Callable[..., Batcher[Text, str]]


@pytest.fixture
def device() -> Iterator[Device]:
    device = Device()
    yield device
    device.let_go()


@pytest.fixture
async def make(device: Device) -> Iterator[Make]:
    made: list[Batcher[Text, str]] = []

    def build(
        clock: Callable[[], float] = time.monotonic,
        lanes: int = 1,
        probe: Text | None = None,
        min_parallel_tokens: float = 0.0,
        **limits: float,
    ) -> Batcher[Text, str]:
        bounds = BatchLimits(**limits)  # type: ignore[arg-type]
        made.append(
            Batcher(
                device.forward,
                bounds,
                lanes=lanes,
                min_parallel_tokens=min_parallel_tokens,
                probe=probe,
                clock=clock,
            )
        )
        return made[-1]

    yield build
    device.let_go()
    for batcher in made:
        await batcher.close()


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """Record the exceptions that end threads; without this fixture, such an exception fails the test."""
    causes: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda death: causes.append(death.exc_type))
    return causes


async def ask(batcher: Batcher[Text, str], *names: str, tokens: int = 1, **options: Any) -> list[str]:
    answer = await batcher.submit([Text(name, tokens) for name in names], **options)
    return answer.results


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition depends on the device thread
            await asyncio.sleep(0)


async def test_an_idle_device_starts_at_once_and_a_busy_one_finds_a_full_batch(
    device: Device, make: Make
) -> None:
    batcher = make()
    first = asyncio.create_task(ask(batcher, "a"))
    await device.until_entered()  # the batch starts without a timer and without further requests
    others = [asyncio.create_task(ask(batcher, name)) for name in "bcd"]
    await until(lambda: batcher.waiting_items == 3)
    device.let_go()
    assert await first == ["answer to a"]
    assert await asyncio.gather(*others) == [["answer to b"], ["answer to c"], ["answer to d"]]
    assert device.batches == [["a"], ["b", "c", "d"]]


async def test_batches_are_first_in_first_out_within_the_budgets(device: Device, make: Make) -> None:
    batcher = make(max_batch_tokens=10, max_batch_items=3)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    sizes = {"a": 4, "b": 6, "c": 1, "d": 25, "e": 1, "f": 1, "g": 1, "h": 1}
    tasks = []
    for name, tokens in sizes.items():
        tasks.append(asyncio.create_task(ask(batcher, name, tokens=tokens, priority="interactive")))
        await until(lambda: batcher.waiting_items == len(tasks))
    device.let_go()
    await asyncio.gather(running, *tasks)
    # The text d alone is above the budget and runs alone; no later text overtakes it.
    assert device.batches == [["running"], ["a", "b"], ["c"], ["d"], ["e", "f", "g"], ["h"]]


async def test_one_request_may_span_batches_and_keeps_its_order(device: Device, make: Make) -> None:
    batcher = make(max_batch_items=2)
    device.let_go()
    assert await ask(batcher, *"abcde") == [f"answer to {name}" for name in "abcde"]


@pytest.mark.parametrize(
    ("limits", "name"),
    [({"max_queue_items": 2}, "max_queue_items"), ({"max_queue_tokens": 2}, "max_queue_tokens")],
)
async def test_what_does_not_fit_is_refused_at_the_door(
    device: Device, make: Make, limits: dict[str, float], name: str
) -> None:
    batcher = make(**limits)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    waiting = asyncio.create_task(ask(batcher, "a", "b"))
    await until(lambda: batcher.waiting_items == 2)
    with pytest.raises(QueueFullError, match=name):
        batcher.check_room()
    with pytest.raises(QueueFullError, match=name):
        await ask(batcher, "c")
    device.let_go()
    await asyncio.gather(running, waiting)
    assert await ask(batcher, "c") == ["answer to c"]


async def measured(batcher: Batcher[Text, str], device: Device, clock: FakeClock, token_s: float) -> None:
    """Run two batches of each of two sizes at the given speed, so that the throughput is known."""
    for number, tokens in enumerate((10, 10, 100, 100)):
        asked = asyncio.create_task(ask(batcher, f"measured {number}", tokens=tokens))
        await device.until_entered()
        clock.now += token_s * tokens
        device.permits.release()
        await asked


async def test_retry_after_is_the_work_ahead_at_the_measured_throughput(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock, max_queue_wait_s=1.0, max_batch_tokens=100)
    await measured(batcher, device, clock, 1 / 200)
    running = asyncio.create_task(ask(batcher, "running", tokens=100))
    await device.until_entered()
    waiting = asyncio.create_task(ask(batcher, "waiting", tokens=100))
    await until(lambda: batcher.waiting_items == 1)
    clock.now += 0.1
    with pytest.raises(QueueFullError, match="max_queue_wait_s") as refusal:
        batcher.check_room()
    assert refusal.value.retry_after_s == pytest.approx((100 + 100) / 200 - 0.1)
    device.let_go()
    await asyncio.gather(running, waiting)


async def test_a_request_of_several_batches_is_bulk_unless_it_says_otherwise(
    device: Device, make: Make
) -> None:
    batcher = make(max_batch_tokens=4)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    tasks = [asyncio.create_task(ask(batcher, *"abcde"))]
    await until(lambda: batcher.waiting_items == 5)
    for names, priority in (("f", None), ("ghijk", "interactive"), ("l", "bulk")):
        tasks.append(asyncio.create_task(ask(batcher, *names, priority=priority)))
        await asyncio.sleep(0)
    await until(lambda: batcher.waiting_items == 12)
    device.let_go()
    await asyncio.gather(running, *tasks)
    order = [name for batch in device.batches[1:] for name in batch]
    assert order[:6] == list("fghijk")
    assert sorted(order[6:]) == list("abcdel") and order.index("l") < order.index("e")


async def test_a_request_larger_than_the_queue_is_too_large_and_no_matter_of_waiting(make: Make) -> None:
    batcher = make(max_queue_items=4, max_queue_tokens=50)
    with pytest.raises(PayloadTooLargeError, match="max_queue_items"):
        await ask(batcher, *"abcde")
    with pytest.raises(PayloadTooLargeError, match="max_queue_tokens"):
        await ask(batcher, "a", tokens=51)


@pytest.mark.parametrize(("refused", "sizes"), [(0, [8]), (1000, [4, 4])])
async def test_in_a_flood_batches_are_smaller(
    device: Device, make: Make, refused: int, sizes: list[int]
) -> None:
    batcher = make(max_batch_tokens=8, flood_batch=0.5, max_queue_items=8)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    waiting = asyncio.gather(*(ask(batcher, name) for name in "abcdefgh"))
    await until(lambda: batcher.waiting_items == 8)
    for _ in range(refused):
        with pytest.raises(QueueFullError):
            batcher.check_room()
    device.let_go()
    await asyncio.gather(running, waiting)
    assert [len(batch) for batch in device.batches] == [1, *sizes]


async def test_the_cancelled_and_the_late_are_left_out_of_the_batch(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    kept = asyncio.create_task(ask(batcher, "kept"))
    left = asyncio.create_task(ask(batcher, "left"))
    late = asyncio.create_task(ask(batcher, "late", deadline=clock.now + 3600))
    await until(lambda: batcher.waiting_items == 3)
    left.cancel()
    clock.now += 3601
    with pytest.raises(asyncio.CancelledError):
        await left
    device.let_go()
    await asyncio.gather(running, kept)
    await ask(batcher, "after")
    assert device.batches == [["running"], ["kept"], ["after"]]
    late.cancel()


async def test_a_deadline_answers_when_it_passes_though_the_device_is_busy(
    device: Device, make: Make
) -> None:
    batcher = make()
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    loop_now = batcher._clock()
    with pytest.raises(DeadlineExceededError):
        await ask(batcher, "late", deadline=loop_now + 0.01)
    with pytest.raises(DeadlineExceededError, match="had passed"):
        await ask(batcher, "past", deadline=loop_now - 1)
    device.let_go()
    await running


async def test_a_text_on_which_the_model_fails_fails_alone_and_the_device_stays_healthy(
    device: Device, make: Make
) -> None:
    device.fail_on = "bad"
    batcher = make(max_batch_items=8, probe=Text("probe"))
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    tasks = [asyncio.create_task(ask(batcher, *names)) for names in (["a", "b"], ["c", "bad", "d"], ["e"])]
    await until(lambda: batcher.waiting_items == 6)
    device.let_go()
    first, guilty, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == (["answer to a", "answer to b"], ["answer to e"])
    assert isinstance(guilty, UnprocessableTextError) and guilty.index == 1
    assert "bad" not in str(guilty)
    batcher.check_health()
    await running


async def test_a_bad_text_that_comes_alone_does_not_make_an_idle_device_unhealthy(
    device: Device, make: Make
) -> None:
    device.fail_on = "bad"
    device.let_go()
    batcher = make(probe=Text("probe"))
    with pytest.raises(UnprocessableTextError):
        await ask(batcher, "bad")
    batcher.check_health()


async def test_a_device_that_fails_on_everything_is_unhealthy_until_a_batch_goes_well(
    device: Device, make: Make
) -> None:
    device.fail_on = "probe"
    device.let_go()
    batcher = make(probe=Text("probe"))
    batcher.check_health()
    with pytest.raises(ModelFailureError, match="failed on a batch"):
        await ask(batcher, "probe", "other")
    with pytest.raises(ModelFailureError, match="latest batch and its retries failed"):
        batcher.check_health()
    assert await ask(batcher, "next") == ["answer to next"]
    batcher.check_health()


async def test_what_waits_of_a_failed_request_leaves_the_queue(device: Device, make: Make) -> None:
    device.fail_on = "bad"
    batcher = make(max_batch_items=2, probe=Text("probe"))
    asked = asyncio.create_task(ask(batcher, "bad", *"abcdefgh"))
    await device.until_entered()
    device.let_go()
    with pytest.raises(UnprocessableTextError):
        await asked
    await ask(batcher, "next")
    assert sum(map(len, device.batches)) < 9


async def test_300_dropped_requests_reach_no_batch_and_nobody_waits_for_them(
    device: Device, make: Make
) -> None:
    batcher = make(max_batch_items=4)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    dropped = [asyncio.create_task(ask(batcher, *f"{number} a b".split())) for number in range(300)]
    await until(lambda: batcher.waiting_items == 900)
    for task in dropped:
        task.cancel()
    await asyncio.gather(*dropped, return_exceptions=True)
    assert batcher.waiting_items == 0 and batcher.backlog_s == 0
    kept = asyncio.create_task(ask(batcher, "kept"))
    await until(lambda: batcher.waiting_items == 1)
    device.let_go()
    await asyncio.gather(running, kept)
    assert device.batches == [["running"], ["kept"]]


async def test_too_few_results_are_a_failure_and_reach_nobody(make: Make) -> None:
    batcher: Batcher[Text, str] = Batcher(lambda batch, alone: ["one"], BatchLimits())
    with pytest.raises(ModelFailureError):
        await ask(batcher, "a", "b")
    await batcher.close()


async def test_a_dead_device_thread_leaves_nobody_hanging(
    device: Device, make: Make, deaths: list[type[BaseException]]
) -> None:
    device.die_on = "running"
    batcher = make(max_batch_items=1)
    tasks = [asyncio.create_task(ask(batcher, "running"))]
    await device.until_entered()
    tasks.append(asyncio.create_task(ask(batcher, "waiting")))
    await until(lambda: batcher.waiting_items == 1)
    device.let_go()
    for task in tasks:
        with pytest.raises(ModelFailureError):
            async with asyncio.timeout(30):
                await task
    await batcher.close()
    assert deaths == [SystemExit]
    with pytest.raises(ModelFailureError):
        batcher.check_health()
    with pytest.raises(NotReadyError):
        await ask(batcher, "new")


async def test_a_stuck_device_fails_the_health_check(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    batcher.check_health()
    clock.now += 61
    with pytest.raises(ModelFailureError, match="running for 61 s"):
        batcher.check_health()
    device.let_go()
    await running


async def test_who_computes_goes_after_who_answers() -> None:
    def forward(batch: Sequence[Text], _alone: bool) -> list[str]:
        return [str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) for _ in batch]

    batcher: Batcher[Text, str] = Batcher(forward, BatchLimits(), niceness=2)
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert await ask(batcher, "a") == [str(min(19, here + 2))]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here
    await batcher.close()


async def test_a_batch_alone_has_the_device_and_then_lanes_run_side_by_side(
    device: Device, make: Make
) -> None:
    batcher = make(lanes=2, max_batch_items=2)
    tasks = [asyncio.create_task(ask(batcher, "first"))]
    await device.until_entered()
    for name in "abcde":
        tasks.append(asyncio.create_task(ask(batcher, name)))
        await until(lambda: batcher.waiting_items == len(tasks) - 1)
    assert device.batches == [["first"]]  # the second lane waits during a batch that uses the entire device
    device.permits.release()
    await device.until_entered()
    await device.until_entered()  # the second lane starts during a batch that does not
    assert batcher.waiting_items == 1
    device.let_go()
    assert await asyncio.gather(*tasks) == [[f"answer to {name}"] for name in ("first", *"abcde")]
    assert sorted(device.batches[1:3]) == [["a", "b"], ["c", "d"]]
    assert device.alone[:3] == [True, False, False]


async def test_a_short_text_leaves_the_other_lanes_to_the_next_texts(device: Device, make: Make) -> None:
    batcher = make(lanes=2, min_parallel_tokens=100)
    tasks = [asyncio.create_task(ask(batcher, "short", tokens=99))]
    await device.until_entered()
    tasks.append(asyncio.create_task(ask(batcher, "next", tokens=99)))
    await device.until_entered()
    device.let_go()
    await asyncio.gather(*tasks)
    assert await ask(batcher, "long", tokens=100) == ["answer to long"]
    assert device.alone == [False, False, True]


async def test_batches_side_by_side_share_the_time_of_the_device(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock, lanes=2, max_batch_items=1, max_batch_tokens=10, max_queue_wait_s=1000)
    for _ in range(3):
        tasks = [asyncio.create_task(ask(batcher, "first", tokens=10))]
        await device.until_entered()
        tasks += [asyncio.create_task(ask(batcher, name, tokens=10)) for name in "ab"]
        await until(lambda: batcher.waiting_items == 2)
        clock.now += 5
        device.permits.release()
        await device.until_entered()
        await device.until_entered()
        clock.now += 10  # `a` and `b` run concurrently: five seconds of the device each
        device.permits.release(2)
        await asyncio.gather(*tasks)
    assert batcher.capacity_tokens_per_s == pytest.approx(10 / 5)


async def test_the_capacity_is_that_of_full_batches_and_known_after_the_first(
    device: Device, make: Make
) -> None:
    clock = FakeClock()
    batcher = make(clock, max_batch_tokens=100)
    assert batcher.capacity_tokens_per_s == 0
    await measured(batcher, device, clock, 1 / 40)
    assert batcher.capacity_tokens_per_s == pytest.approx(40)
    assert batcher.backlog_s == 0


async def test_one_dead_lane_is_told_though_the_other_goes_on(
    device: Device, make: Make, deaths: list[type[BaseException]]
) -> None:
    device.die_on = "deadly"
    batcher = make(lanes=2, max_batch_items=1)
    tasks = []
    for waiting, name in enumerate(("first", "deadly", "other")):
        tasks.append(asyncio.create_task(ask(batcher, name)))
        if waiting == 0:
            await device.until_entered()  # this batch uses the entire device
        await until(lambda: batcher.waiting_items == waiting)  # noqa: B023 - called before the next iteration
    device.permits.release()
    await device.until_entered()
    await device.until_entered()  # the two other requests run concurrently
    device.let_go()
    first, deadly, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, other) == (["answer to first"], ["answer to other"])
    assert isinstance(deadly, ModelFailureError)
    await batcher.close()
    assert deaths == [SystemExit]
    with pytest.raises(ModelFailureError, match="died"):
        batcher.check_health()


async def test_closing_answers_those_who_wait_and_takes_no_more(device: Device, make: Make) -> None:
    batcher = make()
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    waiting = asyncio.create_task(ask(batcher, "waiting"))
    await until(lambda: batcher.waiting_items == 1)
    closing = asyncio.create_task(batcher.close())
    await until(lambda: batcher._closed)
    with pytest.raises(NotReadyError):
        await ask(batcher, "new")
    device.let_go()
    assert await asyncio.gather(running, waiting) == [["answer to running"], ["answer to waiting"]]
    await closing


async def test_closing_ends_every_lane_though_what_waited_was_dropped(device: Device, make: Make) -> None:
    batcher = make(lanes=3, max_batch_items=1)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    waiting = [asyncio.create_task(ask(batcher, name)) for name in "abc"]
    await until(lambda: batcher.waiting_items == 3)
    closing = asyncio.create_task(batcher.close())
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    device.let_go()
    await running
    async with asyncio.timeout(30):
        await closing


@pytest.mark.parametrize("lanes", [1, 3])
async def test_every_survivor_of_200_gets_its_own_answer(device: Device, make: Make, lanes: int) -> None:
    random.seed(3)
    batcher = make(lanes=lanes, max_batch_tokens=60, max_batch_items=7)
    device.held = False
    calls: dict[str, asyncio.Task[list[str]]] = {}
    for number in range(200):
        names = [f"{number}.{part}" for part in range(random.randint(1, 4))]
        late = random.random() < 0.2
        deadline = batcher._clock() + (random.uniform(0, 0.002) if late else 60)
        task = asyncio.create_task(ask(batcher, *names, tokens=random.randint(1, 30), deadline=deadline))
        calls[" ".join(names)] = task
        if random.random() < 0.2:
            asyncio.get_running_loop().call_later(random.uniform(0, 0.01), task.cancel)
        if random.random() < 0.3:
            await asyncio.sleep(0)
    answers = await asyncio.gather(*calls.values(), return_exceptions=True)
    survivors = 0
    for names, answer in zip(calls, answers, strict=True):
        if isinstance(answer, BaseException):
            assert isinstance(answer, DeadlineExceededError | asyncio.CancelledError)
        else:
            survivors += 1
            assert answer == [f"answer to {name}" for name in names.split()]
    assert survivors > 80
    assert batcher.waiting_items == 0 or await ask(batcher, "last") == ["answer to last"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=5), min_size=1, max_size=12),
    st.integers(1, 50),
    st.integers(1, 3),
)
def test_each_item_runs_once_and_no_batch_is_over_budget(
    requests: list[list[int]], budget: int, lanes: int
) -> None:
    seen: list[list[Text]] = []

    def forward(batch: Sequence[Text], _alone: bool) -> list[str]:
        seen.append(list(batch))
        return [item.name for item in batch]

    async def run() -> list[list[str]]:
        batcher = Batcher(forward, BatchLimits(max_batch_tokens=budget), lanes=lanes)
        texts = [
            [Text(f"{row}.{place}", tokens) for place, tokens in enumerate(sizes)]
            for row, sizes in enumerate(requests)
        ]
        answers = await asyncio.gather(*(batcher.submit(items) for items in texts))
        await batcher.close()
        return [answer.results for answer in answers]

    answers = asyncio.run(run())
    assert answers == [
        [f"{row}.{place}" for place in range(len(sizes))] for row, sizes in enumerate(requests)
    ]
    ran = [item.name for batch in seen for item in batch]
    assert sorted(ran) == sorted(name for answer in answers for name in answer)
    assert all(sum(item.tokens for item in batch) <= budget or len(batch) == 1 for batch in seen)
