"""Whatever befalls workers, queue and database: a run ends as it would have ended undisturbed, and
no call of the model is made again but those that were in flight."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.servers.postgres import PrivatePostgres
from lab.servers.processes import PrivateWorker
from lab.servers.valkey import PrivateValkey
from services.bootstrap import Services
from tests.conftest import TEMPLATE
from tests.faults import learning
from tests.faults.learning import (
    AT_ONCE,
    PLAN,
    Left,
    World,
    costs,
    left,
    start,
    stock,
    until_done,
    until_evaluated,
    wake,
    world,
)

HURT = (sys.executable, str(Path(__file__).with_name("hurt_worker.py")))
STOCKED = "template_learning"
POINTS = (
    "before the call",
    "after the answer, before the commit",
    "after the commit",
    "before the decision",
    "after the decision",
)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Undisturbed:
    left: Left
    asked: Counter[str]


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[PrivateValkey]:
    """One that a test may flush."""
    with PrivateValkey() as server:
        yield server


@pytest.fixture(scope="module")
def stocked(
    postgres: PrivatePostgres, own_valkey: PrivateValkey, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a database with a shop in it, to be copied."""
    postgres.create_database(STOCKED, TEMPLATE)
    asyncio.run(stock(postgres.url(STOCKED), own_valkey, tmp_path_factory.mktemp("stock")))
    return STOCKED


@pytest.fixture
async def disturbed(
    postgres: PrivatePostgres, stocked: str, own_valkey: PrivateValkey, tmp_path: Path
) -> AsyncIterator[World]:
    name = f"learning_{next(_numbers)}"
    postgres.create_database(name, stocked)
    with own_valkey.client as client:
        client.flushall()
    async with world(postgres.url(name), own_valkey, tmp_path) as opened:
        yield opened
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def undisturbed(
    postgres: PrivatePostgres,
    stocked: str,
    own_valkey: PrivateValkey,
    tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:
    """The same run by one learner in this process, a user at a time."""

    async def learn() -> Undisturbed:
        folder = tmp_path_factory.mktemp("undisturbed")
        postgres.create_database("undisturbed", stocked)
        async with (
            world(postgres.url("undisturbed"), own_valkey, folder) as calm,
            calm.services() as services,
        ):
            await start(services)
            while await services.learner.advance(limit=1, seconds=60):
                pass
            return Undisturbed(await left(services), calm.asked)

    found = asyncio.run(learn())
    assert {row[2] for row in found.left.rounds} == {"done"}
    assert any(row[6] for row in found.left.variants), "nothing was accepted: nothing to compare"
    assert any(row[2] for row in found.left.served)
    return found


async def _expect_as_undisturbed(
    services: Services, disturbed: World, undisturbed: Undisturbed
) -> learning.Costs:
    """And at most what was in flight was asked again, all of it accounted for."""
    found = await left(services)
    assert len(found.evaluations) == len(undisturbed.left.evaluations)
    assert found.evaluations == undisturbed.left.evaluations
    assert found.variants == undisturbed.left.variants
    assert found.served == undisturbed.left.served
    assert found.paths == undisturbed.left.paths
    assert found.rounds == undisturbed.left.rounds
    paid = await costs(services)
    again = disturbed.asked - undisturbed.asked
    assert not undisturbed.asked - disturbed.asked
    assert set(disturbed.asked) == set(undisturbed.asked), "something else was asked"
    assert paid.calls == undisturbed.asked.total()
    assert again.total() <= paid.lost_calls
    assert paid.spent_calls == paid.calls + paid.lost_calls
    assert paid.reserved_calls == 0
    return paid


def _most_in_flight(deaths: int) -> int:
    """Of each round under way, one step: at most a variant on every question, for each path and
    for zero-shot."""
    return deaths * AT_ONCE * (PLAN.paths + 1) * PLAN.held_out * PLAN.draws


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param(
            [(POINTS[1], 2), (POINTS[3], 2)], marks=pytest.mark.timeout(400), id="two deaths"
        ),
        *(
            pytest.param(
                # A round has several steps, and one decision.
                [(point, visit) for visit in ((1, 2, 3) if "decision" in point else (1, 3, 5))],
                marks=[pytest.mark.long, pytest.mark.timeout(600)],
                id=point,
            )
            for point in POINTS
        ),
    ],
)
async def test_sigkill_of_a_worker_repeats_no_more_than_the_calls_in_flight(
    deaths: list[tuple[str, int]], disturbed: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    async with disturbed.services() as services:
        await start(services)
        for number, (point, visit) in enumerate(deaths):
            mark = tmp_path / f"mark-{number}"
            worker = PrivateWorker(
                disturbed.settings,
                tmp_path,
                words=["killed", str(mark), str(visit), point, "--beat"],
                program=HURT,
            )
            worker.launch()
            try:
                async with asyncio.timeout(learning.SECONDS):
                    while not worker.ended:
                        await wake(services)
                        await asyncio.sleep(0.2)
            finally:
                worker.kill()
            assert mark.exists(), "it ended, and not where it was meant to"
        worker = PrivateWorker(disturbed.settings, tmp_path)
        worker.launch()
        try:
            await until_done(services)
        finally:
            worker.kill()
        paid = await _expect_as_undisturbed(services, disturbed, undisturbed)
    assert paid.lost_calls <= _most_in_flight(len(deaths))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("flushes", [2, 5])
async def test_flushing_redis_in_mid_run_costs_nothing_but_time(
    flushes: int,
    disturbed: World,
    undisturbed: Undisturbed,
    own_valkey: PrivateValkey,
    tmp_path: Path,
) -> None:
    async with disturbed.services() as services:
        await start(services)
        whole = len(undisturbed.left.evaluations)
        worker = PrivateWorker(disturbed.settings, tmp_path)
        worker.launch()
        try:
            await wake(services)
            for number in range(flushes):
                await until_evaluated(services, whole * (2 * number + 1) // (2 * flushes))
                with own_valkey.client as client:
                    client.flushall()  # wake-ups, too: from here on it is up to beat
            await until_done(services, waking=False)
        finally:
            worker.kill()
        paid = await _expect_as_undisturbed(services, disturbed, undisturbed)
    assert paid.lost_calls == 0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_restart_of_postgresql_in_mid_run_repeats_no_more_than_the_calls_in_flight(
    undisturbed: Undisturbed, own_valkey: PrivateValkey, tmp_path: Path
) -> None:
    restarts = 2
    with PrivatePostgres() as postgres:
        postgres.create_database("shop")
        url = postgres.url("shop")
        await stock(url, own_valkey, tmp_path)
        async with world(url, own_valkey, tmp_path) as disturbed, disturbed.services() as services:
            await start(services)
            whole = len(undisturbed.left.evaluations)
            worker = PrivateWorker(disturbed.settings, tmp_path)
            worker.launch()
            try:
                await wake(services)
                for number in range(restarts):
                    await until_evaluated(services, whole * (2 * number + 1) // (2 * restarts))
                    await asyncio.to_thread(postgres.stop, "immediate")
                    await asyncio.sleep(1)
                    await asyncio.to_thread(postgres.start)
                    await wake(services)
                await until_done(services)
                assert not worker.ended
            finally:
                worker.kill()
            paid = await _expect_as_undisturbed(services, disturbed, undisturbed)
    assert paid.lost_calls <= _most_in_flight(restarts)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_two_workers_told_everything_twice_and_out_of_order_repeat_nothing(
    disturbed: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    async with disturbed.services() as services:
        await start(services)
        workers = []
        for number, beat in enumerate((["--beat"], [])):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings = {**disturbed.settings, "data_dir": str(folder)}
            workers.append(PrivateWorker(settings, folder, words=["twice", *beat], program=HURT))
        try:
            for worker in workers:
                worker.launch()
            await until_done(services)
        finally:
            for worker in workers:
                worker.kill()
        paid = await _expect_as_undisturbed(services, disturbed, undisturbed)
    assert paid.lost_calls == 0
    assert disturbed.asked == undisturbed.asked


async def test_the_same_seed_ends_the_same_whatever_is_done_at_once(
    disturbed: World, undisturbed: Undisturbed
) -> None:
    async with disturbed.services() as services, disturbed.services() as others:
        await start(services)
        more = True
        while more:
            learners = (services.learner, others.learner)
            more = any(
                await asyncio.gather(*(one.advance(limit=8, seconds=60) for one in learners))
            )
        await until_done(services, waking=False)
        paid = await _expect_as_undisturbed(services, disturbed, undisturbed)
    assert paid.lost_calls == 0
