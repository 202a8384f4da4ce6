"""What a gateway adds to its engine: POST /recommend beside the same prompts put to the engine
directly, by the same adapter, interleaved."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from lab.bench.deployed import DeployedShop, expect_source, recommended
from lab.bench.load import Connection
from lab.bench.questions import ByLabels
from lab.bench.timing import Timed, by_clients
from lab.servers.processes import PrivateGateway
from services.llm.chat import Chat, Message
from services.llm.port import Labels, LanguageModel
from services.prompts.segments import SegmentName

CLIENTS = 8
WARM_UP = 10


@dataclass(slots=True)
class Overhead:
    """By round: calls one by one, and by several clients at once. `laps` are what the gateway
    itself says of the former."""

    bare: list[Timed] = field(default_factory=list)
    gateway: list[Timed] = field(default_factory=list)
    bare_at_once: list[Timed] = field(default_factory=list)
    gateway_at_once: list[Timed] = field(default_factory=list)
    laps: list[dict[str, float]] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        pairs = list(zip(self.bare, self.gateway, strict=True))
        at_once = zip(self.bare_at_once, self.gateway_at_once, strict=True)
        return {
            "overhead.p50": median(gateway.ms(0.5) / bare.ms(0.5) for bare, gateway in pairs),
            "overhead.p50_ms": median(gateway.ms(0.5) - bare.ms(0.5) for bare, gateway in pairs),
            "overhead.throughput8": median(
                gateway.per_second / bare.per_second for bare, gateway in at_once
            ),
        }

    def detail(self) -> dict[str, Any]:
        return {
            "bare_p50_ms": [one.ms(0.5) for one in self.bare],
            "gateway_p50_ms": [one.ms(0.5) for one in self.gateway],
            "bare_per_s": [one.per_second for one in self.bare_at_once],
            "gateway_per_s": [one.per_second for one in self.gateway_at_once],
            "gateway_laps_p50_ms": {
                name: median(laps[name] for laps in self.laps) for name in self.laps[0]
            },
        }


@dataclass(frozen=True, slots=True)
class _Pair:
    """A user for the gateway and a prompt for the bare engine: that of another user, so that
    neither side finds in a cache what the other has just computed."""

    user_id: str
    question: ByLabels


async def measure_overhead(
    gateway: PrivateGateway,
    shop: DeployedShop,
    model: LanguageModel,
    labels: Labels,
    *,
    users: int,
    rounds: int,
    draws: random.Random,
    told: Callable[[str], None],
) -> Overhead:
    """Every round asks both sides about each user once, one by one and then by several clients."""
    found = Overhead()
    told("the prompts of the gateway")
    async with Connection(gateway.port) as connection:
        pairs = await _pairs(connection, draws.sample(shop.users, users), labels)
    for pair in pairs[:WARM_UP]:
        await pair.question.put_to(model)
    for number in range(rounds):
        told(f"gateway and bare engine, round {number + 1}: one by one")
        # A connection of its own: the gateway closes those that are idle for long.
        async with Connection(gateway.port) as connection:
            await _one_by_one(found, connection, model, draws.sample(pairs, users), draws)
        told(f"gateway and bare engine, round {number + 1}: {CLIENTS} clients")
        await _at_once(found, gateway.port, model, draws.sample(pairs, users), draws)
    return found


async def _pairs(connection: Connection, users: Sequence[str], labels: Labels) -> list[_Pair]:
    questions = []
    for user_id in users:
        reply = await recommended(connection, user_id, explain=True)
        expect_source(reply, degraded=False)
        questions.append(_question(reply["explanation"], labels))
    half = len(users) // 2
    return [
        _Pair(user_id, question)
        for user_id, question in zip(users, questions[half:] + questions[:half], strict=True)
    ]


def _question(explanation: dict[str, Any], labels: Labels) -> ByLabels:
    """What the gateway has asked."""
    texts = {segment["name"]: segment["text"] for segment in explanation["prompt"]}
    lead = texts.pop(SegmentName.LEAD)
    chat = Chat((Message("user", "".join(texts.values())),), lead)
    return ByLabels(chat, labels.first(len(explanation["candidates"])))


async def _one_by_one(
    found: Overhead,
    connection: Connection,
    model: LanguageModel,
    pairs: Sequence[_Pair],
    draws: random.Random,
) -> None:
    bare, gateway = Timed(), Timed()

    async def ask_gateway(pair: _Pair) -> None:
        reply = await recommended(connection, pair.user_id)
        expect_source(reply, degraded=False)
        found.laps.append(reply["timings"])

    async def ask_engine(pair: _Pair) -> None:
        await pair.question.put_to(model)

    for pair in pairs:
        sides = [(gateway, ask_gateway), (bare, ask_engine)]
        for timed, ask in draws.sample(sides, 2):
            one = await by_clients(1, [pair], ask)
            timed.calls += one.calls
    found.bare.append(bare)
    found.gateway.append(gateway)


async def _at_once(
    found: Overhead, port: int, model: LanguageModel, pairs: Sequence[_Pair], draws: random.Random
) -> None:
    async with AsyncExitStack() as stack:
        free: list[Connection] = []

        async def ask_gateway(pair: _Pair) -> None:
            fresh = None if free else await stack.enter_async_context(Connection(port))
            connection = fresh or free.pop()
            expect_source(await recommended(connection, pair.user_id), degraded=False)
            free.append(connection)

        async def ask_engine(pair: _Pair) -> None:
            await pair.question.put_to(model)

        sides = [(found.gateway_at_once, ask_gateway), (found.bare_at_once, ask_engine)]
        for rounds, ask in draws.sample(sides, 2):
            rounds.append(await by_clients(CLIENTS, pairs, ask))
