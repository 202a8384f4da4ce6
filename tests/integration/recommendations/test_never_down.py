"""A model that is down, slow, or answers garbage: a list comes all the same, in time, and says so.

Here some requests of each fault; the long tier sends a thousand.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from services.llm.scripted import Fault
from tests.conftest import ClientFactory
from tests.integration.recommendations.conftest import (
    SHELVES,
    THINGS,
    Llm,
    bought_by,
    ids,
    recommended,
    services_of,
    stock,
)
from tests.integration.recommendations.lateness import (
    AT_ONCE,
    GRACE_MS,
    Pauses,
    Taken,
    judge_in_time,
)

DEADLINE_MS = 300
ITEMS = {f"{shelf}-{thing}".lower() for shelf in SHELVES for thing in THINGS}


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize(
    "requests", [24, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_no_fault_of_the_model_is_one_of_ours(
    llm: Llm,
    opened_client: ClientFactory,
    fault: Fault,
    requests: int,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    async with opened_client(**llm.settings, ranking_stored_seconds=0) as client:
        await stock(client)
        await recommended(client, user_id="camper")
        llm.server.faults.slow_seconds = 5.0
        llm.server.faults.begin(fault)
        seen: Counter[str] = Counter()
        taken = []
        with Pauses() as pauses:
            for batch in range(0, requests, AT_ONCE):
                replies = await asyncio.gather(*(timed(client, batch + n) for n in range(AT_ONCE)))
                for status, one, reply in replies:
                    assert status == 200, reply
                    assert set(ids(reply)) <= ITEMS
                    assert len(reply["items"]) == 10
                    seen[reply["source"]] += 1
                    assert reply["degraded"] == (reply["source"] != "model")
                    assert (reply["reason"] is None) == (reply["source"] == "model")
                    taken.append(one)
        took = sorted(one.ms for one in taken)
        figures = {
            "sources": dict(seen),
            "p50_ms": round(took[len(took) // 2]),
            "p99_ms": round(took[len(took) * 99 // 100]),
            "slowest_ms": round(took[-1]),
            f"later_than_{GRACE_MS}_ms": sum(ms > DEADLINE_MS + GRACE_MS for ms in took),
        }
        record_testsuite_property(f"{requests} x {fault}", figures)
        judge_in_time(taken, DEADLINE_MS, pauses)
        if fault is not Fault.EXTRA_LABELS:  # more than was asked for hurts nobody
            assert sum(seen.values()) - seen["model"] > 0


async def timed(client: httpx2.AsyncClient, number: int) -> tuple[int, Taken, dict[str, Any]]:
    began = time.monotonic()
    answer = await client.post(
        "/recommend", json={"user_id": f"u{number % 8}", "deadline_ms": DEADLINE_MS}
    )
    return answer.status_code, Taken(began, time.monotonic()), answer.json()


async def test_the_last_good_ranking_comes_before_retrieval(
    shop: httpx2.AsyncClient, llm: Llm
) -> None:
    good = await recommended(shop, user_id="camper")
    await bought_by(shop, "camper", ids(good)[0])
    llm.server.faults.begin(Fault.FAILED)
    last = await recommended(shop, user_id="camper")
    assert (last["source"], last["degraded"]) == ("last_ranking", True)
    assert ids(last)[:5] == ids(good)[1:6], "in its order, and without what was taken since"
    never = await recommended(shop, user_id="clerk")
    assert never["source"] in ("retrieval", "popularity")
    assert never["reason"] in ("server_failed", "unavailable", "circuit_open", "timeout")
    llm.server.faults.recover()


async def test_without_redis_the_model_still_ranks(llm: Llm, opened_client: ClientFactory) -> None:
    async with opened_client(**llm.settings) as client:
        await stock(client)
    dead = {"redis_url": "redis://127.0.0.1:9/0", "broker_url": "redis://127.0.0.1:9/1"}
    async with opened_client(**llm.settings, **dead) as client:
        await services_of(client).recommender.prepare()
        reply = await recommended(client, user_id="camper", k=3)
        assert reply["source"] == "model"
        assert all(item.startswith("camp-") for item in ids(reply))


async def test_a_reader_who_was_slow_never_brings_an_older_state_back(
    shop: httpx2.AsyncClient,
) -> None:
    services = services_of(shop)
    states = services.recommender._states
    await states.raise_versions({"camper": 10**6})
    slow = await states._refill_one("camper", None)
    assert slow.version < 10**6
    assert await services.redis.hget("lrgd:user:camper", "state") is None
