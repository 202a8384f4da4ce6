"""How long a list takes where the model is down and its breaker open: the fallback alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.bench.commands import BenchFailed
from lab.bench.deployed import DeployedShop, expect_source, recommended
from lab.bench.load import Connection
from lab.bench.timing import Timed, by_clients
from lab.servers.fault_proxy import FaultProxy
from lab.servers.processes import PrivateGateway
from services.ports import LOOPBACK

OPEN = "circuit_open"
MOST_TO_OPEN = 50


@dataclass(frozen=True, slots=True)
class Fallback:
    """`reasons` and `sources` are of all that was measured: a breaker that is open tries the
    server again now and then, and whoever's turn that is waits for it."""

    timed: Timed
    reasons: Counter[str]
    sources: Counter[str]

    def figures(self) -> dict[str, float]:
        return {"fallback.p99_ms": self.timed.ms(0.99)}

    def detail(self) -> dict[str, Any]:
        return {
            "requests": len(self.timed.calls),
            "p50_ms": self.timed.ms(0.5),
            "slowest_ms": self.timed.ms(1.0),
            "reasons": dict(self.reasons),
            "sources": dict(self.sources),
        }


async def measure_fallback(
    shop: DeployedShop, *, requests: int, draws: random.Random, told: Callable[[str], None]
) -> Fallback:
    """One client, users drawn anew for each request."""
    told("a gateway whose model is down")
    with FaultProxy(LOOPBACK, 0) as nobody:
        nobody.refuse()
        down = {"llm_url": f"http://{LOOPBACK}:{nobody.port}", "llm_model": "down"}
        with PrivateGateway({**shop.settings, **down}, shop.folder) as gateway:
            async with Connection(gateway.port) as connection:
                return await _measure(shop, connection, requests, draws)


async def _measure(
    shop: DeployedShop, connection: Connection, requests: int, draws: random.Random
) -> Fallback:
    reasons, sources = Counter[str](), Counter[str]()

    async def ask(user_id: str) -> None:
        reply = await recommended(connection, user_id)
        expect_source(reply, degraded=True)
        reasons[reply["reason"]] += 1
        sources[reply["source"]] += 1

    for _ in range(MOST_TO_OPEN):
        await ask(draws.choice(shop.users))
        if reasons[OPEN]:
            break
    else:
        raise BenchFailed(f"the breaker did not open: {dict(reasons)}")
    for user_id in shop.users:  # their states, into Redis: the model would have found them there
        await ask(user_id)
    reasons.clear()
    sources.clear()
    timed = await by_clients(1, draws.choices(shop.users, k=requests), ask)
    return Fallback(timed, reasons, sources)
