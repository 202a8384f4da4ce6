from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.llm.errors import ModelTimeout, QueueFull
from services.llm.gate import Gate, GateLimits
from services.llm.port import Priority, Terms
from services.observability.metrics import Metrics

LIVE = Priority.LIVE
ROUND = Priority.ROUND


def gate(**limits: int) -> Gate:
    return Gate(GateLimits(**limits), Metrics())


def terms(priority: Priority = LIVE, seconds: float = 5) -> Terms:
    return Terms.within(seconds, priority)


async def waiting(
    gate: Gate, name: str, priority: Priority, order: list[str]
) -> asyncio.Task[None]:
    async def work() -> None:
        async with gate.place(terms(priority)):
            order.append(name)
            await asyncio.sleep(0)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    return task


async def test_a_live_call_passes_rounds_that_waited_longer() -> None:
    door, order = gate(in_flight=1, rounds=1), list[str]()
    async with door.place(terms(ROUND)):
        tasks = [
            await waiting(door, "round 1", ROUND, order),
            await waiting(door, "round 2", ROUND, order),
            await waiting(door, "live", LIVE, order),
        ]
    await asyncio.gather(*tasks)
    assert order == ["live", "round 1", "round 2"]


async def test_rounds_leave_places_for_live_calls() -> None:
    door, order = gate(in_flight=2, rounds=1), list[str]()
    async with door.place(terms(ROUND)):
        second = await waiting(door, "round", ROUND, order)
        assert order == []
        await (await waiting(door, "live", LIVE, order))
        assert order == ["live"]
    await second


async def test_over_the_bound_nobody_waits() -> None:
    metrics = Metrics()
    door = Gate(GateLimits(in_flight=1, rounds=1, waiting=1), metrics)
    async with AsyncExitStack() as places:
        await places.enter_async_context(door.place(terms()))
        last = await waiting(door, "last", LIVE, [])
        with pytest.raises(QueueFull):
            await places.enter_async_context(door.place(terms()))
    await last
    assert b'lrgd_llm_queue_refused_total{priority="live"} 1.0' in metrics.render()


async def test_whoever_waits_past_the_deadline_leaves_the_queue() -> None:
    door = gate(in_flight=1, rounds=1, waiting=1)
    async with door.place(terms()):
        for _ in range(3):  # each finds the one place in the queue free
            with pytest.raises(ModelTimeout):
                async with door.place(terms(seconds=0.01)):
                    pass
    async with door.place(terms(seconds=0.01)):
        pass


async def test_whoever_is_cancelled_in_the_moment_of_its_turn_hands_it_on() -> None:
    door, order = gate(in_flight=1, rounds=1), list[str]()
    async with AsyncExitStack() as places:
        await places.enter_async_context(door.place(terms()))
        first = await waiting(door, "first", LIVE, order)
        second = await waiting(door, "second", LIVE, order)
        await places.aclose()
        first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert order == ["second"]


async def test_never_more_at_once_than_allowed() -> None:
    door, now, most = gate(in_flight=3, rounds=2), 0, 0

    async def work(priority: Priority) -> None:
        nonlocal now, most
        async with door.place(terms(priority)):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

    await asyncio.gather(*(work(LIVE if number % 3 else ROUND) for number in range(60)))
    assert (now, most) == (0, 3)
