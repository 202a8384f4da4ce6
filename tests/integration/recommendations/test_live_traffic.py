"""Rounds give way to people, and are not starved by them."""

from __future__ import annotations

import asyncio
import time

from services.bootstrap import Services
from services.recommendations import live_traffic
from services.recommendations.live_traffic import LiveTraffic
from services.recommendations.wanted import Wanted
from tests.conftest import ServicesFactory


async def waited(live: LiveTraffic) -> float:
    began = time.monotonic()
    await live.give_way()
    return time.monotonic() - began


async def marked(services: Services) -> bool:
    for _ in range(100):
        if await services.redis.exists("lrgd:live"):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_round_waits_while_somebody_is_recommended_to(
    opened_services: ServicesFactory,
) -> None:
    async with opened_services() as gateway, opened_services() as worker:
        live = LiveTraffic(worker.redis)
        assert await waited(live) < live_traffic.FADES_SECONDS / 2
        await gateway.recommender.recommend(Wanted(user_id="ada"))
        assert await marked(gateway)
        assert await waited(live) > 0.1


async def test_never_ending_traffic_does_not_starve_it(opened_services: ServicesFactory) -> None:
    async with opened_services() as services:
        await services.redis.set("lrgd:live", 1)
        seconds = await waited(LiveTraffic(services.redis))
        assert seconds >= live_traffic.LONGEST_WAIT_SECONDS


async def test_without_redis_nobody_waits(opened_services: ServicesFactory) -> None:
    async with opened_services(redis_url="redis://127.0.0.1:1/0") as services:
        live = LiveTraffic(services.redis)
        live.came()
        await live.give_way()
        await live.aclose()
