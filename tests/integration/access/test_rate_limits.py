"""The rate limit: a sliding minute per caller, and open doors while Redis is away."""

from __future__ import annotations

import asyncio
import time

import httpx2
import pytest

from lab.servers.fault_proxy import FaultProxy
from lab.servers.valkey import PrivateValkey
from services.access.keys import Scope
from services.access.rate_limit import RateLimiter
from services.bootstrap import Services
from services.errors import RateLimited
from services.observability.metrics import Metrics
from services.storage.redis import connect, rate_key
from tests.conftest import ClientFactory, ServicesFactory

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


class Clock:
    """The wall clock of the limiter, set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_040.0  # a minute begins

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("services.access.rate_limit.time", clock)
    return clock


@pytest.fixture
def limiter(services: Services, clock: Clock) -> RateLimiter:
    return RateLimiter(services.redis, services.metrics, per_minute=4)


async def admitted(limiter: RateLimiter, caller: str = "ada") -> bool:
    try:
        await limiter.admit(caller)
    except RateLimited:
        return False
    return True


async def test_so_many_a_minute_and_no_more(limiter: RateLimiter) -> None:
    assert [await admitted(limiter) for _ in range(6)] == [True] * 4 + [False] * 2


async def test_callers_are_counted_apart(limiter: RateLimiter) -> None:
    for _ in range(5):
        await admitted(limiter, "ada")
    assert not await admitted(limiter, "ada")
    assert await admitted(limiter, "bob")


async def test_the_edge_of_a_minute_is_no_loophole(limiter: RateLimiter, clock: Clock) -> None:
    clock.now += 59
    assert [await admitted(limiter) for _ in range(4)] == [True] * 4
    clock.now += 2
    assert not await admitted(limiter)


async def test_who_waits_as_told_is_let_in_and_who_comes_sooner_is_not(
    limiter: RateLimiter, clock: Clock
) -> None:
    clock.now += 30
    while await admitted(limiter):
        pass
    with pytest.raises(RateLimited) as refused:
        await limiter.admit("ada")
    wait = int(refused.value.headers["Retry-After"])
    assert 0 < wait <= 120
    clock.now += wait
    assert await admitted(limiter)


async def test_two_quiet_minutes_forget_everything(limiter: RateLimiter, clock: Clock) -> None:
    while await admitted(limiter):
        pass
    clock.now += 120
    assert [await admitted(limiter) for _ in range(5)] == [True] * 4 + [False]


async def test_what_is_kept_in_redis_goes_away_by_itself(
    limiter: RateLimiter, services: Services, clock: Clock
) -> None:
    await limiter.admit("ada")
    kept = await services.redis.keys("*")
    assert kept == [rate_key("ada", int(clock.now // 60))]
    assert 0 < await services.redis.ttl(kept[0]) <= 120


async def test_headers_say_what_is_left(opened_client: ClientFactory) -> None:
    async with opened_client(rate_limit_per_minute=3) as client:
        answers = [await client.get("/items") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [answer.headers["ratelimit-limit"] for answer in answers] == ["3"] * 5
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["2", "1", *"000"]
    assert all(0 < int(answer.headers["ratelimit-reset"]) <= 60 for answer in answers)
    assert "retry-after" not in answers[0].headers
    refused = answers[-1]
    assert refused.json()["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) > 0


async def test_probes_and_scrapes_are_never_limited(opened_client: ClientFactory) -> None:
    async with opened_client(rate_limit_per_minute=1) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            for _ in range(3):
                assert (await client.get(path)).status_code != 429
        refusals = [(await client.get("/items")).status_code for _ in range(3)]
        assert refusals == [200, 429, 429]
        metrics = (await client.get("/metrics")).text
    assert "lrgd_rate_limited_total 2.0" in metrics


async def test_keys_are_limited_each_for_itself(
    opened_client: ClientFactory, opened_services: ServicesFactory
) -> None:
    async with (
        opened_client(rate_limit_per_minute=1, auth="required") as client,
        opened_services() as services,
    ):
        for name in ("a", "b"):
            key = await services.keys.create(name, [Scope.INGEST])
            headers = {"authorization": f"Bearer {key}"}
            codes = [(await client.get("/items", headers=headers)).status_code for _ in range(2)]
            assert codes == [200, 429]


async def test_a_limit_of_nothing_is_no_limit(
    opened_client: ClientFactory, services: Services
) -> None:
    async with opened_client(rate_limit_per_minute=0) as client:
        answers = await asyncio.gather(*(client.get("/items") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit-limit" not in answers[0].headers
    assert await services.redis.keys("lrgd:rate:*") == []


async def test_without_redis_everyone_passes_and_it_is_counted(
    opened_client: ClientFactory,
) -> None:
    with PrivateValkey() as own:
        urls = own.settings
        async with opened_client(rate_limit_per_minute=2, **urls) as client:
            assert (await client.get("/items")).headers["ratelimit-remaining"] == "1"
            own.kill()
            answers = [await client.get("/items") for _ in range(4)]
            assert {answer.status_code for answer in answers} == {200}
            assert "ratelimit-limit" not in answers[0].headers
            assert "lrgd_rate_limit_unchecked_total 4.0" in (await client.get("/metrics")).text
            own.start()
            limit = None
            async with asyncio.timeout(5):
                while limit is None:
                    await asyncio.sleep(0.02)
                    limit = (await client.get("/items")).headers.get("ratelimit-limit")
            assert limit == "2"


async def test_a_redis_that_hangs_delays_a_request_by_no_more_than_its_deadline(
    services: Services, valkey: PrivateValkey
) -> None:
    with FaultProxy("127.0.0.1", valkey.address.port) as proxy:
        redis = connect(proxy.through(valkey.address.state_url), timeout_seconds=0.3)
        limiter = RateLimiter(redis, Metrics(), per_minute=10)
        assert await limiter.admit("ada") is not None
        proxy.hang()
        began = time.monotonic()
        assert await limiter.admit("ada") is None
        assert time.monotonic() - began < 0.6
        began = time.monotonic()
        for _ in range(20):
            assert await limiter.admit("ada") is None
        assert time.monotonic() - began < 0.1, "and no more than one of them"
        proxy.recover()
        async with asyncio.timeout(5):
            while await limiter.admit("ada") is None:
                await asyncio.sleep(0.02)
        await redis.aclose()


async def test_a_gateway_whose_redis_is_gone_never_answers_with_an_error(
    opened_client: ClientFactory,
) -> None:
    event = {"event_id": "e", "user_id": "u", "item_id": "i", "type": "purchase"}
    with PrivateValkey() as own:
        urls = own.settings
        own.kill()
        async with opened_client(redis_timeout_seconds=0.3, **urls) as client:
            answers: dict[str, httpx2.Response] = {
                "events": await client.post("/events", json=event),
                "again": await client.post("/events", json=event),
                "items": await client.get("/items"),
                "recommend": await client.post("/recommend", json={"k": 3}),
                "metrics": await client.get("/metrics"),
            }
            assert {name: a.status_code for name, a in answers.items()} == dict.fromkeys(
                answers, 200
            )
            assert answers["events"].json()["accepted"] == 1
            assert answers["again"].json()["duplicates"] == 1
            assert [item["item_id"] for item in answers["recommend"].json()["items"]] == ["i"]
            assert answers["recommend"].json()["degraded"] is True
            lost = 'lrgd_jobs_lost_total{task="refresh_popularity"} 1.0'
            assert lost in answers["metrics"].text
