"""Workers that learn: real processes on a PostgreSQL of their own, timed by the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select

from lab.bench.commands import BenchFailed
from lab.bench.deployed import stock
from lab.servers.postgres import PrivatePostgres
from lab.servers.processes import PrivateWorker
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services, open_services
from services.observability.metrics import Metrics
from services.optimizer.models import Round, RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget
from services.queue import Job
from services.settings import Settings

LONGEST_RUN_SECONDS = 600.0
SHOP = "shop"


@dataclass(frozen=True, slots=True)
class Learned:
    """What a timed run has cost: `seconds` from its start to its last decision, everything else
    per user-round. `cpu` is of the workers alone; `longest` is a round's own time on average."""

    workers: int
    rounds: int
    seconds: float
    calls: float
    prompt_tokens: float
    uncached_prompt_tokens: float
    completion_tokens: float
    longest: float
    cpu: float

    @property
    def per_second(self) -> float:
        return self.rounds / self.seconds


@dataclass(frozen=True)
class StockedShop:
    """The sample shop in PostgreSQL, copied for every run, so that none finds another's work."""

    postgres: PrivatePostgres
    valkey: PrivateValkey
    folder: Path
    users: tuple[str, ...]

    @classmethod
    async def stocked(
        cls, postgres: PrivatePostgres, valkey: PrivateValkey, folder: Path
    ) -> StockedShop:
        postgres.create_database(SHOP)
        users = await stock(_settings(postgres.url(SHOP), valkey, folder))
        return cls(postgres, valkey, folder, users)

    async def learned(
        self,
        name: str,
        engines: Sequence[Mapping[str, Any]],
        *,
        at_once: int,
        users: int,
        rounds: int,
        plan: Plan,
        clock_starts: Callable[[], None] = lambda: None,
    ) -> Learned:
        """By one worker for each of the engines, given as its settings. What a worker asks its
        engine first is asked before the clock runs."""
        self.postgres.create_database(name, SHOP)
        url = self.postgres.url(name)
        # As many as all take up at once: fewer would be taken by one worker alone.
        most = at_once * len(engines)
        warmers, timed = self.users[:most], self.users[most:][:users]
        if len(timed) < users:
            raise BenchFailed(
                f"the sample shop has {len(self.users)} users: time fewer than {users}"
            )
        settings = _settings(url, self.valkey, self.folder)
        shared = {
            "database_url": url,
            **self.valkey.settings,
            "learning_at_once": at_once,
        }
        with self.valkey.client as client:
            client.flushall()
        async with open_services(settings, Metrics()) as services:
            with _crew(self.folder / name, shared, engines) as crew:
                few = plan.model_copy(update={"paths": 1, "held_out": 1, "draws": 1})
                await _run(services, "warm", warmers, rounds=1, plan=few, workers=len(crew))
                clock_starts()
                before = _cpu(crew)
                await _run(services, "timed", timed, rounds=rounds, plan=plan, workers=len(crew))
                cpu = _cpu(crew) - before
            return await _told(services, len(engines), cpu)


def _settings(url: str, valkey: PrivateValkey, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": folder,
            "database_url": url,
            **valkey.settings,
        }
    )


@contextlib.contextmanager
def _crew(
    folder: Path, shared: Mapping[str, Any], engines: Sequence[Mapping[str, Any]]
) -> Iterator[list[PrivateWorker]]:
    with contextlib.ExitStack() as stack:
        workers = []
        for number, engine in enumerate(engines):
            own = folder / str(number)
            own.mkdir(parents=True)
            worker = PrivateWorker({**shared, **engine, "data_dir": own}, own)
            worker.launch()
            stack.callback(worker.kill)
            workers.append(worker)
        began = time.time()
        for worker in workers:
            while not worker.works(since=began):
                if worker.ended or time.time() > began + LONGEST_RUN_SECONDS:
                    raise BenchFailed(f"a worker did not start:\n{worker.said[-2000:]}")
                time.sleep(0.05)
        yield workers


async def _run(
    services: Services,
    run_id: str,
    users: Sequence[str],
    *,
    rounds: int,
    plan: Plan,
    workers: int,
) -> None:
    await services.ledger.start(run_id, users, rounds, plan, Budget())
    until = time.monotonic() + LONGEST_RUN_SECONDS
    while await _state(services, run_id) == RunState.RUNNING:
        if time.monotonic() > until:
            raise BenchFailed(f"a run was not over after {LONGEST_RUN_SECONDS:.0f} s")
        # One for each: a worker that finds all rounds taken rests until it is told again.
        for _ in range(workers):
            await services.queue.put(Job.ADVANCE_ROUNDS)
        await asyncio.sleep(0.5)


async def _state(services: Services, run_id: str) -> str | None:
    async with services.database.reading() as session:
        return await session.scalar(select(Run.state).where(Run.run_id == run_id))


async def _told(services: Services, workers: int, cpu: float) -> Learned:
    async with services.database.reading() as session:
        run = (await session.scalars(select(Run).where(Run.run_id == "timed"))).one()
        rounds = (await session.scalars(select(Round).where(Round.run_id == "timed"))).all()
    done = [one for one in rounds if one.state == RoundState.DONE]
    if len(done) < len(rounds) or run.finished_at is None:
        states = sorted({f"{one.state}: {one.reason}" for one in rounds if one not in done})
        raise BenchFailed(f"{len(rounds) - len(done)} of {len(rounds)} rounds failed: {states[:3]}")

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Learned(
        workers=workers,
        rounds=len(done),
        seconds=(run.finished_at - run.made_at).total_seconds(),
        calls=mean([one.calls for one in done]),
        prompt_tokens=mean([one.prompt_tokens for one in done]),
        uncached_prompt_tokens=mean([one.prompt_tokens - one.cached_tokens for one in done]),
        completion_tokens=mean([one.completion_tokens for one in done]),
        longest=mean([one.seconds for one in done]),
        cpu=cpu / len(done),
    )


def _cpu(crew: Sequence[PrivateWorker]) -> float:
    """Of the workers and their children, in seconds."""
    total = 0.0
    for worker in crew:
        process = psutil.Process(worker.pid)
        for one in (process, *process.children(recursive=True)):
            used = one.cpu_times()
            total += used.user + used.system
    return total
