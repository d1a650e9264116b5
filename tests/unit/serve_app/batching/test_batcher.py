"""The batcher's laws, on a device that the test holds in its hand."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_app.batching.admission import BatchLimits
from serve_app.batching.batcher import Batcher
from serve_app.errors import DeadlineExceeded, ModelFailure, NotReady, QueueFull


@dataclass(frozen=True)
class Text:
    """An item whose answer encodes it, so that a swapped answer shows."""

    name: str
    tokens: int = 1


@dataclass
class Device:
    """A forward that waits until the test lets it go, and remembers its batches."""

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
    """Seconds that pass when the test says so."""

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
        clock: Callable[[], float] | None = None, lanes: int = 1, **limits: float
    ) -> Batcher[Text, str]:
        bounds = BatchLimits(**limits)  # type: ignore[arg-type]
        made.append(Batcher(device.forward, bounds, lanes=lanes, **({"clock": clock} if clock else {})))
        return made[-1]

    yield build
    device.let_go()
    for batcher in made:
        await batcher.close()


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """What threads died of; otherwise the death of one fails the test."""
    causes: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda death: causes.append(death.exc_type))
    return causes


async def ask(batcher: Batcher[Text, str], *names: str, tokens: int = 1, **options: float) -> list[str]:
    answer = await batcher.submit([Text(name, tokens) for name in names], **options)
    return answer.results


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for belongs to the device thread
            await asyncio.sleep(0)


async def test_an_idle_device_starts_at_once_and_a_busy_one_finds_a_full_batch(
    device: Device, make: Make
) -> None:
    batcher = make()
    first = asyncio.create_task(ask(batcher, "a"))
    await device.until_entered()  # nothing else had come: no timer, no company needed
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
        tasks.append(asyncio.create_task(ask(batcher, name, tokens=tokens)))
        await until(lambda: batcher.waiting_items == len(tasks))
    device.let_go()
    await asyncio.gather(running, *tasks)
    # d alone is over the budget and goes alone; nobody overtakes it
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
    with pytest.raises(QueueFull, match=name):
        batcher.check_room()
    with pytest.raises(QueueFull, match=name):
        await ask(batcher, "c")
    device.let_go()
    await asyncio.gather(running, waiting)
    assert await ask(batcher, "c") == ["answer to c"]


async def test_retry_after_is_the_work_ahead_at_the_measured_rate(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock, max_queue_wait_s=1.0, max_batch_tokens=100)
    first = asyncio.create_task(ask(batcher, "measured", tokens=100))
    await device.until_entered()
    clock.now += 0.5  # 200 tokens a second
    device.permits.release()
    await first
    running = asyncio.create_task(ask(batcher, "running", tokens=100))
    await device.until_entered()
    waiting = asyncio.create_task(ask(batcher, "waiting", tokens=300))
    await until(lambda: batcher.waiting_items == 1)
    with pytest.raises(QueueFull, match="max_queue_wait_s") as refusal:
        batcher.check_room()
    assert refusal.value.retry_after_s == pytest.approx((100 + 300) / 200)
    device.let_go()
    await asyncio.gather(running, waiting)


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
        with pytest.raises(QueueFull):
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
    with pytest.raises(DeadlineExceeded):
        await ask(batcher, "late", deadline=loop_now + 0.01)
    with pytest.raises(DeadlineExceeded, match="had passed"):
        await ask(batcher, "past", deadline=loop_now - 1)
    device.let_go()
    await running


async def test_a_failure_fails_its_own_batch_and_the_health_check(device: Device, make: Make) -> None:
    device.fail_on = "bad"
    batcher = make(max_batch_items=2)
    batcher.check_health()
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    tasks = []
    for name in ("bad", "neighbour", "next"):
        tasks.append(asyncio.create_task(ask(batcher, name)))
        await until(lambda: batcher.waiting_items == len(tasks))
    device.permits.release(2)  # `running`, then the bad batch
    for task in tasks[:2]:
        with pytest.raises(ModelFailure):
            await task
    with pytest.raises(ModelFailure, match="latest batch failed"):
        batcher.check_health()
    device.let_go()
    assert await asyncio.gather(running, tasks[2]) == [["answer to running"], ["answer to next"]]
    batcher.check_health()  # a batch went well since


async def test_too_few_results_are_a_failure_and_reach_nobody(make: Make) -> None:
    batcher: Batcher[Text, str] = Batcher(lambda batch, alone: ["one"], BatchLimits())
    with pytest.raises(ModelFailure):
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
        with pytest.raises(ModelFailure):
            async with asyncio.timeout(30):
                await task
    await batcher.close()
    assert deaths == [SystemExit]
    with pytest.raises(ModelFailure):
        batcher.check_health()
    with pytest.raises(NotReady):
        await ask(batcher, "new")


async def test_a_stuck_device_fails_the_health_check(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock)
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    batcher.check_health()
    clock.now += 61
    with pytest.raises(ModelFailure, match="running for 61 s"):
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
    assert device.batches == [["first"]]  # the second lane stands still beside a batch that has it all
    device.permits.release()
    await device.until_entered()
    await device.until_entered()  # and begins beside one that has not
    assert batcher.waiting_items == 1
    device.let_go()
    assert await asyncio.gather(*tasks) == [[f"answer to {name}"] for name in ("first", *"abcde")]
    assert sorted(device.batches[1:3]) == [["a", "b"], ["c", "d"]]
    assert device.alone[:3] == [True, False, False]


async def test_the_rate_is_that_of_all_lanes_together(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock, lanes=2, max_batch_items=1)
    tasks = [asyncio.create_task(ask(batcher, "first", tokens=10))]
    await device.until_entered()
    tasks += [asyncio.create_task(ask(batcher, name, tokens=10)) for name in "ab"]
    await until(lambda: batcher.waiting_items == 2)
    device.permits.release()  # `first` took no time
    await device.until_entered()
    await device.until_entered()
    clock.now += 10  # `a` and `b` took ten seconds, side by side
    device.let_go()
    await asyncio.gather(*tasks)
    assert 0 < batcher._rate.seconds_for(20) <= 10


async def test_the_capacity_is_that_of_full_batches_after_the_first(device: Device, make: Make) -> None:
    clock = FakeClock()
    batcher = make(clock, max_batch_tokens=100)

    async def run(name: str, tokens: int, seconds: float) -> None:
        asked = asyncio.create_task(ask(batcher, name, tokens=tokens))
        await device.until_entered()
        assert batcher.ahead_s == pytest.approx(batcher._rate.seconds_for(tokens))
        clock.now += seconds
        device.permits.release()
        await asked
        await until(lambda: not batcher._running)

    await run("cold", 90, 30.0)
    await run("small", 10, 1.0)
    assert batcher.capacity_tokens_per_s == 0, "neither says what the device can do"
    await run("full", 80, 2.0)
    assert batcher.capacity_tokens_per_s == pytest.approx(40)
    await run("small again", 10, 1.0)
    assert batcher.capacity_tokens_per_s == pytest.approx(40)
    assert batcher.ahead_s == 0


async def test_one_dead_lane_is_told_though_the_other_goes_on(
    device: Device, make: Make, deaths: list[type[BaseException]]
) -> None:
    device.die_on = "deadly"
    batcher = make(lanes=2, max_batch_items=1)
    tasks = []
    for waiting, name in enumerate(("first", "deadly", "other")):
        tasks.append(asyncio.create_task(ask(batcher, name)))
        if waiting == 0:
            await device.until_entered()  # and has the whole device
        await until(lambda: batcher.waiting_items == waiting)  # noqa: B023 - called before the next turn
    device.permits.release()
    await device.until_entered()
    await device.until_entered()  # the two others, side by side
    device.let_go()
    first, deadly, other = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, other) == (["answer to first"], ["answer to other"])
    assert isinstance(deadly, ModelFailure)
    await batcher.close()
    assert deaths == [SystemExit]
    with pytest.raises(ModelFailure, match="died"):
        batcher.check_health()


async def test_closing_answers_those_who_wait_and_takes_no_more(device: Device, make: Make) -> None:
    batcher = make()
    running = asyncio.create_task(ask(batcher, "running"))
    await device.until_entered()
    waiting = asyncio.create_task(ask(batcher, "waiting"))
    await until(lambda: batcher.waiting_items == 1)
    closing = asyncio.create_task(batcher.close())
    await until(lambda: batcher._closed)
    with pytest.raises(NotReady):
        await ask(batcher, "new")
    device.let_go()
    assert await asyncio.gather(running, waiting) == [["answer to running"], ["answer to waiting"]]
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
            assert isinstance(answer, DeadlineExceeded | asyncio.CancelledError)
        else:
            survivors += 1
            assert answer == [f"answer to {name}" for name in names.split()]
    assert survivors > 80
    assert batcher.waiting_items == 0 or await ask(batcher, "last") == ["answer to last"]


@pytest.mark.parametrize("name", BatchLimits.__slots__)
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BatchLimits(**{name: 0})


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
