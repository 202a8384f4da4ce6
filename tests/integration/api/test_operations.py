"""Whether a gateway lives and is ready, and what is down if it is not: by name."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import pytest

from lab.servers.fault_proxy import FaultProxy
from lab.servers.postgres import PrivatePostgres
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services
from services.ports import free_port
from services.storage.redis import HEARTBEAT
from tests.conftest import ClientFactory

on_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


@pytest.fixture
async def heartbeat(services: Services) -> None:
    await services.redis.set(HEARTBEAT, time.time())


async def readiness(client: httpx2.AsyncClient) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/readyz")
    return answer.status_code, answer.json()


@pytest.mark.usefixtures("heartbeat")
async def test_ready_is_when_everything_answers(client: httpx2.AsyncClient) -> None:
    status, told = await readiness(client)
    assert status == 200
    assert told["status"] == "ready"
    assert {name: part["ready"] for name, part in told["parts"].items()} == {
        "database": True,
        "redis": True,
        "worker": True,
        "llm": True,
    }


@on_sqlite
async def test_a_worker_that_never_beat_or_no_longer_beats_is_named(
    opened_client: ClientFactory, services: Services
) -> None:
    async with opened_client(heartbeat_stale_seconds=8) as client:
        status, told = await readiness(client)
        assert status == 503
        assert told["parts"]["worker"] == {
            "ready": False,
            "needed": True,
            "detail": "no heartbeat has been seen yet",
        }
        await services.redis.set(HEARTBEAT, time.time() - 60)
        status, told = await readiness(client)
        assert status == 503
        assert "60 s ago" in told["parts"]["worker"]["detail"]
        assert told["parts"]["redis"]["ready"]
        assert told["parts"]["database"]["ready"]


@on_sqlite
async def test_a_redis_that_is_down_is_named_and_takes_the_worker_along(
    opened_client: ClientFactory,
) -> None:
    urls = {name: f"redis://:hunter2@127.0.0.1:{free_port()}/0" for name in ("redis_url",)}
    async with opened_client(**urls, broker_url=urls["redis_url"]) as client:
        status, told = await readiness(client)
    assert status == 503
    assert {name: part["ready"] for name, part in told["parts"].items()} == {
        "database": True,
        "redis": False,
        "worker": False,
        "llm": True,
    }
    assert "hunter2" not in str(told)


@on_sqlite
@pytest.mark.usefixtures("heartbeat")
async def test_a_database_that_is_down_is_named(opened_client: ClientFactory) -> None:
    url = f"postgresql://lrgd:hunter2@127.0.0.1:{free_port()}/lrgd"  # pragma: allowlist secret
    async with opened_client(database_url=url) as client:
        status, told = await readiness(client)
    assert status == 503
    assert {name: part["ready"] for name, part in told["parts"].items()} == {
        "database": False,
        "redis": True,
        "worker": True,
        "llm": True,
    }
    assert "hunter2" not in str(told)


@on_postgresql
@pytest.mark.usefixtures("heartbeat")
async def test_a_database_that_hangs_is_named_soon(
    opened_client: ClientFactory, database_url: str, postgres: PrivatePostgres
) -> None:
    with FaultProxy("127.0.0.1", postgres.port) as proxy:
        async with opened_client(database_url=proxy.through(database_url)) as client:
            assert (await readiness(client))[0] == 200
            proxy.hang()
            began = time.monotonic()
            status, told = await readiness(client)
            assert time.monotonic() - began < 5
            assert status == 503
            assert "no answer" in told["parts"]["database"]["detail"]
            proxy.recover()
            assert (await readiness(client))[0] == 200


@on_sqlite
async def test_a_part_that_comes_back_is_ready_again(opened_client: ClientFactory) -> None:
    with PrivateValkey() as own:
        urls = own.settings
        async with opened_client(**urls) as client:
            own.kill()
            assert not (await readiness(client))[1]["parts"]["redis"]["ready"]
            own.start()
            assert (await readiness(client))[1]["parts"]["redis"]["ready"]


@on_sqlite
async def test_to_live_a_gateway_needs_nobody(opened_client: ClientFactory) -> None:
    dead = f"redis://127.0.0.1:{free_port()}/0"
    async with opened_client(
        redis_url=dead, broker_url=dead, database_url=f"postgresql://127.0.0.1:{free_port()}/x"
    ) as client:
        answer = await client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@on_sqlite
@pytest.mark.usefixtures("heartbeat")
async def test_readiness_is_also_a_metric(client: httpx2.AsyncClient) -> None:
    await client.get("/readyz")
    metrics = (await client.get("/metrics")).text
    for part in ("database", "redis", "worker", "llm"):
        assert f'lrgd_part_ready{{part="{part}"}} 1.0' in metrics


@on_sqlite
@pytest.mark.usefixtures("heartbeat")
async def test_a_model_server_that_is_down_is_named_and_the_gateway_serves_on(
    opened_client: ClientFactory,
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    async with opened_client(llm_url=nowhere, llm_model="any") as client:
        status, told = await readiness(client)
        assert (status, told["status"]) == (200, "degraded")
        assert told["parts"]["llm"]["ready"] is False
        assert told["parts"]["llm"]["needed"] is False
        assert "circuit breaker closed" in told["parts"]["llm"]["detail"]
        items = [{"item_id": f"i{n}", "title": f"Item {n}"} for n in range(3)]
        await client.post("/items", json=items)
        for _ in range(8):
            await client.post("/recommend", json={})
        assert "circuit breaker open" in (await readiness(client))[1]["parts"]["llm"]["detail"]
        assert "lrgd_llm_breaker_state 2.0" in (await client.get("/metrics")).text
