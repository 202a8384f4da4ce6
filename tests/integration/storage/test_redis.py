"""A Redis that does not answer is left alone, and only then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from lab.servers.fault_proxy import FaultProxy
from lab.servers.valkey import PrivateValkey
from services.storage.redis import OUTAGE, ask_again, connect

TIMEOUT_SECONDS = 0.2


@pytest.fixture
def proxy(valkey: PrivateValkey) -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1", valkey.address.port) as proxy:
        yield proxy


@pytest.fixture
def url(proxy: FaultProxy, valkey: PrivateValkey) -> str:
    return proxy.through(valkey.address.state_url)


async def put(redis: Redis, value: int) -> None:
    await redis.set("key", value)


async def got(redis: Redis) -> object:
    return await redis.get("key")


@pytest.fixture
async def redis(url: str) -> AsyncIterator[Redis]:
    redis = connect(url, timeout_seconds=TIMEOUT_SECONDS)
    yield redis
    await redis.aclose()


@pytest.mark.parametrize("connected", [True, False])
async def test_a_call_that_is_broken_off_says_nothing_against_redis(
    redis: Redis, connected: bool
) -> None:
    for steps in range(60):
        if not connected:
            await redis.connection_pool.disconnect()
        call = asyncio.create_task(put(redis, steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await redis.set("key", steps)


async def test_after_one_call_in_vain_the_others_do_not_wait(
    redis: Redis, proxy: FaultProxy
) -> None:
    await redis.set("key", 1)
    proxy.hang()
    with pytest.raises(OUTAGE):
        await redis.get("key")
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(OUTAGE):
            await redis.get("key")
    assert time.monotonic() - began < TIMEOUT_SECONDS
    proxy.recover()
    for _ in range(200):
        try:
            assert await redis.get("key") == "1"
            break
        except OUTAGE:
            await asyncio.sleep(0.05)
    else:
        raise AssertionError("nobody has found out that it is back")


async def test_who_waits_less_long_than_the_timeout_finds_out_as_well(
    redis: Redis, proxy: FaultProxy
) -> None:
    await redis.set("key", 1)
    proxy.hang()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(TIMEOUT_SECONDS / 2):
            await redis.get("key")
    began = time.monotonic()
    with pytest.raises(OUTAGE):
        await redis.get("key")
    assert time.monotonic() - began < TIMEOUT_SECONDS / 2


def test_in_a_loop_that_stands_still_between_calls_redis_is_asked_again(
    url: str, proxy: FaultProxy
) -> None:
    async def asked(redis: Redis) -> object:
        await ask_again(redis)
        return await got(redis)

    async def opened() -> Redis:
        return connect(url, timeout_seconds=TIMEOUT_SECONDS)

    with asyncio.Runner() as runner:
        redis = runner.run(opened())
        runner.run(put(redis, 1))
        proxy.hang()
        with pytest.raises(OUTAGE):
            runner.run(asked(redis))
        proxy.recover()
        with pytest.raises(OUTAGE, match="left alone"):
            runner.run(got(redis))
        assert runner.run(asked(redis)) == "1"
        runner.run(redis.aclose())
