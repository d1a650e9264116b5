"""Tests of the scheduler in simulated time: accurate forecasts, and isolation between request classes."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from serve_app.batching.admission import BatchLimits, Priority
from serve_app.batching.scheduler import BULK_PATIENCE_S, BatchScheduler
from serve_app.errors import QueueFullError
from tests.unit.serve_app.batching.simulation import CPU, CPU_TWO_LANES, GPU, DeviceModel, Simulation

DEVICES = pytest.mark.parametrize("device", [CPU, CPU_TWO_LANES, GPU], ids=["cpu", "cpu-2-lanes", "gpu"])
BOUND_S = 1.0


def simulate(device: DeviceModel, check_every: int = 1) -> Simulation:
    limits = BatchLimits(max_batch_tokens=device.max_batch_tokens, max_queue_wait_s=BOUND_S)
    return Simulation(device, limits, check_every=check_every)


def arrivals(
    simulation: Simulation, arrive: Callable[[], object], *, per_s: float, count: int, seed: int = 1
) -> float:
    """Schedule Poisson arrivals; return the time of the last one."""
    rng, when = random.Random(seed), simulation.now
    for _ in range(count):
        when += rng.expovariate(per_s)
        simulation.at(when, arrive)
    return when


def p95_s(simulation: Simulation) -> float:
    """Return the 95th percentile of the latency of requests with one text."""
    return float(np.quantile([of.latency_s for of in simulation.done if len(of.items) == 1], 0.95))


def assert_refusals_are_right(simulation: Simulation) -> None:
    """Check that refused requests would wait half of the bound, and Retry-After is within a factor of 2."""
    compared = [refusal for refusal in simulation.refused if refusal.truth_s is not None]
    assert compared
    for refusal in compared:
        assert refusal.truth_s is not None and refusal.truth_s >= BOUND_S / 2
        assert 0.5 <= refusal.retry_after_s / refusal.truth_s <= 2


@DEVICES
@pytest.mark.parametrize("singles", [0, 300])
def test_a_burst_of_one_batch_of_work_is_not_refused(device: DeviceModel, singles: int) -> None:
    simulation = simulate(device)
    arrivals(simulation, lambda: simulation.arrive([12]), per_s=3, count=singles)
    simulation.run()
    for _ in range(32):
        simulation.arrive([15])
    simulation.run()
    assert len(simulation.done) == singles + 32 and not simulation.refused


@DEVICES
@pytest.mark.parametrize("singles", [0, 300])
def test_a_burst_beyond_the_bound_is_told_the_truth(device: DeviceModel, singles: int) -> None:
    simulation = simulate(device, check_every=2003 if device is GPU else 23)
    arrivals(simulation, lambda: simulation.arrive([12]), per_s=3, count=singles)
    simulation.run()
    for _ in range(int(2 * device.tokens_per_s / 40)):
        simulation.arrive([40])
    assert_refusals_are_right(simulation)


@DEVICES
def test_at_ten_times_the_capacity_refusals_are_right_and_the_device_is_busy(device: DeviceModel) -> None:
    simulation = simulate(device, check_every=997 if device is GPU else 211)
    began, rng = simulation.now, random.Random(3)
    seconds = 4.0 if device is not GPU else 1.5
    rate = 10 * device.tokens_per_s / 40
    scale = 16 if device is GPU else 1  # requests of sixteen texts keep the number of events low
    arrivals(
        simulation,
        lambda: simulation.arrive([rng.choice([20, 40, 60])] * scale, priority="interactive"),
        per_s=rate / scale,
        count=int(seconds * rate / scale),
    )
    simulation.run()
    assert_refusals_are_right(simulation)
    tokens = sum(item.tokens for of in simulation.done for item in of.items)
    assert tokens / (simulation.now - began) >= 0.9 * device.tokens_per_s


@pytest.mark.parametrize("device", [CPU, CPU_TWO_LANES], ids=["cpu", "cpu-2-lanes"])
@pytest.mark.parametrize("slowness", [2.0, 3.0])
def test_a_flood_that_takes_cores_from_the_device_is_told_the_truth(
    device: DeviceModel, slowness: float
) -> None:
    """Batches of every size were observed before; in the flood all batches have one size and are slower."""
    limits = BatchLimits(max_batch_tokens=device.max_batch_tokens, flood_batch=0.5, max_queue_wait_s=BOUND_S)
    simulation = Simulation(device, limits, check_every=10**9)
    rng = random.Random(3)
    for load in (0.2, 0.5, 0.8):
        per_s = load * device.tokens_per_s / 40
        arrivals(simulation, lambda: simulation.arrive([rng.choice([20, 40, 60])]), per_s=per_s, count=500)
        simulation.run()
    assert not simulation.refused
    simulation.slowness = slowness
    began, per_s = simulation.now, 10 * device.tokens_per_s / 40
    count = int(6 * per_s)
    arrivals(simulation, lambda: simulation.arrive([rng.choice([20, 40, 60])]), per_s=per_s, count=count)
    simulation.run(began + 1)
    simulation.check_every = 211
    first = len(simulation.refused)
    simulation.run()
    batch_s = slowness * device.lanes * device.batch_s(device.max_batch_tokens // 2)
    compared = [refusal for refusal in simulation.refused[first:] if refusal.truth_s is not None]
    assert len(compared) > 20
    for refusal in compared:
        assert refusal.truth_s is not None
        error_s = abs(refusal.retry_after_s - refusal.truth_s)
        assert error_s <= 0.3 * refusal.truth_s + batch_s / 2  # the request starts with one batch or the next
    waits = [of.latency_s for of in simulation.done if of.arrived_at > began + 1]
    assert np.quantile(waits, 0.99) <= BOUND_S + batch_s


@DEVICES
@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_a_request_is_refused_before_its_body_is_read_if_it_is_refused_after(
    device: DeviceModel, priority: Priority
) -> None:
    """The check before tokenisation assumes one token; a request of one turn gets the same result."""
    simulation = simulate(device, check_every=10**9)
    simulation.scheduler = BatchScheduler(
        BatchLimits(max_batch_tokens=device.max_batch_tokens, max_bulk_wait_s=BOUND_S), device.lanes
    )
    for _ in range(4):
        simulation.arrive([64] * (device.max_batch_tokens // 64), priority=priority)
        simulation.run()

    def refuses(tokens: int) -> bool:
        try:
            simulation.scheduler.check_room("", priority, items=1, tokens=tokens, now=simulation.now)
        except QueueFullError:
            return True
        return False

    seen = set()
    for _ in range(int(2 * device.tokens_per_s / 40)):
        verdicts = {refuses(tokens) for tokens in (1, 40, min(512, device.max_batch_tokens))}
        assert len(verdicts) == 1
        seen |= verdicts
        simulation.arrive([40], priority=priority)
    assert seen == {True, False}


@DEVICES
@pytest.mark.parametrize("fraction", [0.3, 0.6])
def test_below_the_capacity_nobody_is_refused(device: DeviceModel, fraction: float) -> None:
    simulation = simulate(device)
    rng = random.Random(5)
    per_s = fraction * device.tokens_per_s / 40
    arrivals(simulation, lambda: simulation.arrive([rng.choice([20, 40, 60])]), per_s=per_s, count=3000)
    simulation.run()
    assert not simulation.refused


@DEVICES
def test_beside_a_bulk_client_small_requests_are_not_refused_and_bulk_goes_on(device: DeviceModel) -> None:
    simulation = simulate(device)
    last = arrivals(
        simulation, lambda: simulation.arrive([20]), per_s=0.3 * device.tokens_per_s / 20, count=2500
    )
    bulk = []

    def send_bulk(now: float) -> None:
        if now < last:
            bulk.append(simulation.arrive([512] * 64, priority="bulk", on_done=send_bulk))

    simulation.at(simulation.now, lambda: send_bulk(simulation.now))
    simulation.run()
    assert not simulation.refused
    assert bulk and all(of is not None and of.done_at for of in bulk)
    # A running text of 512 tokens cannot be interrupted: its time is the maximum that a bulk client adds.
    alone = simulate(device)
    arrivals(alone, lambda: alone.arrive([20]), per_s=0.3 * device.tokens_per_s / 20, count=2500)
    alone.run()
    longest_bulk_s = device.batch_s(max(512, device.max_batch_tokens // 4))
    assert p95_s(simulation) <= 2 * p95_s(alone) + device.lanes * longest_bulk_s


@DEVICES
def test_bulk_requests_wait_and_are_not_refused(device: DeviceModel) -> None:
    for texts, clients in ((32, 4), (256, 2)):
        simulation = simulate(device)
        began = simulation.now

        def again(
            now: float, texts: int = texts, simulation: Simulation = simulation, end: float = began + 5
        ) -> None:
            if now < end:
                simulation.arrive([38] * texts, on_done=again)

        for _ in range(clients):
            again(simulation.now)
        simulation.run()
        assert not simulation.refused
        tokens = sum(item.tokens for of in simulation.done for item in of.items)
        if (
            clients * texts * 38 >= 2 * device.lanes * device.max_batch_tokens
        ):  # otherwise the clients limit the throughput
            assert tokens / (simulation.now - began) >= 0.9 * device.tokens_per_s


@DEVICES
def test_in_an_overload_of_interactive_requests_bulk_never_starves(device: DeviceModel) -> None:
    simulation = simulate(device, check_every=10**9)
    scale = 16 if device is GPU else 1
    rate = 3 * device.tokens_per_s / 40 / scale
    arrivals(
        simulation,
        lambda: simulation.arrive([40] * scale, priority="interactive"),
        per_s=rate,
        count=int(8 * rate),
    )
    simulation.run(simulation.now + 0.5)
    bulk = simulation.arrive([512] * 64 if device is GPU else [40] * 40, priority="bulk")
    assert bulk is not None
    begun, left = [simulation.now], bulk.waiting_items
    while bulk.waiting_items:
        simulation.run(simulation.now + 0.01)
        if bulk.waiting_items < left:
            left = bulk.waiting_items
            begun.append(simulation.now)
    longest_batches_s = 2 * device.lanes * device.batch_s(device.max_batch_tokens)
    assert max(np.diff(begun)) <= BULK_PATIENCE_S + longest_batches_s + 0.02


@DEVICES
def test_a_bulk_request_that_is_refused_is_told_the_truth(device: DeviceModel) -> None:
    simulation = simulate(device)
    for _ in range(200):
        simulation.arrive([512] * 64, priority="bulk")
        if simulation.refused:
            break
    [refusal] = simulation.refused
    assert refusal.truth_s is not None
    # The true wait includes the request's own texts except the last; Retry-After excludes them.
    own_s = 63 / 64 * 64 * 512 / device.tokens_per_s
    assert 0.5 <= refusal.retry_after_s / max(refusal.truth_s - own_s, 0.01) <= 2


@DEVICES
def test_one_tenants_flood_is_its_own(device: DeviceModel) -> None:
    simulation = simulate(device, check_every=10**9)
    scale = 16 if device is GPU else 1
    rate = 3 * device.tokens_per_s / 40 / scale
    arrivals(
        simulation,
        lambda: simulation.arrive([40] * scale, priority="interactive", tenant="flood"),
        per_s=rate,
        count=int(3 * rate),
    )
    arrivals(simulation, lambda: simulation.arrive([20], tenant="other"), per_s=10, count=25, seed=2)
    simulation.run()
    assert all(refusal.tokens == 40 * scale for refusal in simulation.refused) and simulation.refused
    waits = [of.latency_s for of in simulation.done if of.tenant == "other"]
    assert len(waits) == 25 and max(waits) <= 4 * device.lanes * device.batch_s(device.max_batch_tokens)
