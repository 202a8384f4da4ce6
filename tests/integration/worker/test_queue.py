"""Messages that are put on the queue at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from kombu import pools

from services.queue import Job
from tests.conftest import ServicesFactory


@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_who_sends_at_once_shares_one_pool_of_connections(
    opened_services: ServicesFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second pool would take the place of the first, whose connections nobody would close."""
    made: list[Any] = []
    create = pools.Connections.create

    def slowly(group: Any, connection: Any, limit: int) -> Any:
        made.append(connection)
        time.sleep(0.05)
        return create(group, connection, limit)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(pools.Connections, "create", slowly)
    # A deadline like no other's: the process keeps pools by address and options.
    async with opened_services(broker_timeout_seconds=2.3) as services:
        jobs = [Job.HEARTBEAT, Job.SWEEP_LEDGER, Job.REFRESH_POPULARITY]
        await asyncio.gather(*map(services.queue.put, jobs))
    assert len(made) == 1
