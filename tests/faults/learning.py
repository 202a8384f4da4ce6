"""A shop that learns from a scripted model on a real socket, and all that is left of its run."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from lab.servers.scripted import served
from lab.servers.valkey import PrivateValkey
from lab.shop.events import in_time_order, sample_users
from lab.shop.files import event_rows, item_rows
from lab.shop.taste import SHIPPED_USERS, Shop
from services.bootstrap import Services, open_services
from services.catalog.inputs import NewEvent, NewItem
from services.demonstrations.models import StoredDemonstration, StoredVariant, Switch
from services.errors import Unavailable
from services.llm.port import Priority
from services.llm.scripted import LatencyModel, Script
from services.llm.scripted_server import ScriptedServer
from services.observability.metrics import Metrics
from services.optimizer.models import Evaluation, Round, Run, RunState
from services.optimizer.models import Path as PathRow
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget
from services.queue import Job
from services.schema import upgrade
from services.settings import Settings
from services.storage.database import open_database

USERS = [f"user-{number:04d}" for number in SHIPPED_USERS[:4]]
CROWD = 40
ROUNDS = 2
PLAN = Plan(paths=3, draws=3, candidates=12, seed=11)
RUN = "run"
AT_ONCE = 3
# Short, so that what was killed is soon taken up again.
LEASE_SECONDS = 2
SECONDS = 120.0
# Long enough for a fault to meet calls that are under way.
LATENCY = LatencyModel(0.02, 0.00002, 0.0005)

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Left:
    """What a run leaves behind, but for ids and times that chance and the clock give."""

    variants: list[Row]
    served: list[Row]
    paths: list[Row]
    evaluations: list[Row]
    rounds: list[Row]


@dataclass(frozen=True)
class Costs:
    calls: int
    lost_calls: int
    spent_calls: int
    reserved_calls: int


@dataclass(frozen=True)
class World:
    """A stocked shop, and the model server that counts what it is asked."""

    settings: dict[str, str]
    server: ScriptedServer

    @contextlib.asynccontextmanager
    async def services(self) -> AsyncIterator[Services]:
        async with open_services(Settings.model_validate(self.settings), Metrics()) as services:
            yield services

    @property
    def asked(self) -> Counter[str]:
        """The prompts of rounds, each as often as it was asked; not those of probes."""
        return Counter(prompt for prompt in self._prompts() if "\n- " in prompt)

    def _prompts(self) -> Iterator[str]:
        for one in self.server.received:
            if one.body.get("priority") != Priority.ROUND:
                continue
            chats = one.body["messages"]
            for chat in chats if isinstance(chats[0], list) else [chats]:
                # A refused text is asked for again with another seed.
                yield f"{one.body.get('seed')} {chat[0]['content']}"


@contextlib.asynccontextmanager
async def world(database_url: str, valkey: PrivateValkey, folder: Path) -> AsyncIterator[World]:
    server = ScriptedServer(Script(latency=LATENCY))
    async with served(server) as url:
        yield World(
            {
                "data_dir": str(folder),
                "database_url": database_url,
                **valkey.settings,
                "llm_url": url,
                "llm_model": server.script.model,
                "heartbeat_seconds": "0.5",
                "learning_at_once": str(AT_ONCE),
                "learning_lease_seconds": str(LEASE_SECONDS),
                "learning_attempts": "100",
                "learning_park_seconds": "1",
            },
            server,
        )


async def stock(database_url: str, valkey: PrivateValkey, folder: Path) -> None:
    """Everything that rounds read: afterwards nothing comes and nothing is derived anew."""
    shop = Shop()
    users = list(sample_users(shop, SHIPPED_USERS[:CROWD]))
    settings = Settings.model_validate(
        {
            "data_dir": folder,
            "database_url": database_url,
            **valkey.settings,
        }
    )
    async with contextlib.aclosing(open_database(settings)) as database:
        await upgrade(database)
    async with open_services(settings, Metrics()) as services:
        await services.catalog.upsert_items(
            [NewItem.model_validate(row) for row in item_rows(shop)]
        )
        await services.catalog.record(
            [NewEvent.model_validate(row) for row in event_rows(shop, in_time_order(users))]
        )
        await services.popularity.refresh()
        await services.covisit_index.refresh(seconds=60)


async def start(services: Services) -> None:
    await services.ledger.start(RUN, USERS, ROUNDS, PLAN, Budget())


async def wake(services: Services, times: int = 1) -> None:
    for _ in range(times):
        await services.queue.put(Job.ADVANCE_ROUNDS)


async def until_evaluated(services: Services, count: int) -> None:
    """So many evaluations are in the ledger."""
    async with asyncio.timeout(SECONDS):
        while await _evaluations(services) < count:
            await asyncio.sleep(0.02)


async def until_done(services: Services, *, waking: bool = True) -> None:
    """`waking`: with a wake-up now and then; otherwise it is up to beat."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(Unavailable):
                if await _state(services) != RunState.RUNNING:
                    return
            if waking:
                await wake(services)
            await asyncio.sleep(0.3)


async def _state(services: Services) -> str:
    async with services.database.reading() as session:
        return str(await session.scalar(select(Run.state).where(Run.run_id == RUN)))


async def _evaluations(services: Services) -> int:
    async with services.database.reading() as session:
        return await session.scalar(select(func.count()).select_from(Evaluation)) or 0


async def costs(services: Services) -> Costs:
    async with services.database.reading() as session:
        rounds = (await session.scalars(select(Round))).all()
        run = (await session.scalars(select(Run))).one()
    return Costs(
        sum(one.calls for one in rounds),
        sum(one.lost_calls for one in rounds),
        run.spent_calls,
        run.reserved_calls,
    )


async def left(services: Services) -> Left:
    async with services.database.reading() as session:
        texts = {
            one.demonstration_id: one.text
            for one in await session.scalars(select(StoredDemonstration))
        }
        variants = [
            (
                one.variant_id, one.user_id, one.path, one.round_number,
                texts.get(one.current_id or ""), texts.get(one.perturbation_id or ""),
                one.accepted, one.incumbent, one.effective, one.stale, one.tokens,
                one.effect_d, one.log_score, one.fingerprint,
            )
            for one in await session.scalars(select(StoredVariant))
        ]  # fmt: skip
        switches = [
            (one.user_id, one.number, one.variant_id)
            for one in await session.scalars(select(Switch))
        ]
        paths = [
            (one.user_id, one.path, one.rounds, one.collapsed, one.steps, one.last_id)
            for one in await session.scalars(select(PathRow))
        ]
        evaluations = [
            (
                one.variant_id, one.event_id, one.question, one.fingerprint, one.draw, one.rank,
                one.log_score, one.raw,
            )
            for one in await session.scalars(select(Evaluation))
        ]  # fmt: skip
        rounds = [
            (one.user_id, one.number, one.state, one.calls, one.completion_tokens, one.outcome)
            for one in await session.scalars(select(Round))
        ]
    return Left(
        *(sorted(rows, key=repr) for rows in (variants, switches, paths, evaluations, rounds))
    )
