"""A rollback while a round is under way: what was taken back stays so."""

from __future__ import annotations

import pytest

from lab.shop.events import in_time_order, sample_users
from lab.shop.files import event_rows, item_rows
from lab.shop.taste import SHIPPED_USERS, Shop
from services.bootstrap import Services
from services.catalog.inputs import NewEvent, NewItem
from services.optimizer.learner import Learner
from services.optimizer.material import Materials
from services.optimizer.memory import memory_of
from services.optimizer.plan import Plan
from services.optimizer.rollback import RolledBack
from services.optimizer.rules import Budget
from services.optimizer.runner import RoundRunner

PLAN = Plan(paths=2, draws=2, seed=5)
USERS = [f"user-{number:04d}" for number in SHIPPED_USERS[:4]]


@pytest.mark.parametrize("point", ["before the call", "before the decision"])
async def test_a_round_under_way_does_not_bring_back_what_was_rolled_back(
    services: Services, point: str
) -> None:
    shop = Shop()
    lives = list(sample_users(shop, SHIPPED_USERS[: len(USERS)]))
    await services.catalog.upsert_items([NewItem.model_validate(row) for row in item_rows(shop)])
    await services.catalog.record(
        [NewEvent.model_validate(row) for row in event_rows(shop, in_time_order(lives))]
    )
    await services.ledger.start("first", USERS, 1, PLAN, Budget())
    while await services.learner.advance(limit=4, seconds=60):
        pass
    active = {user: await _active(services, user) for user in USERS}
    user = next(user for user, variant in active.items() if variant is not None)

    done: list[RolledBack] = []

    async def checkpoint(reached: str) -> None:
        if reached == point and not done:
            done.append(await services.rollbacks.roll_back(user))

    materials = Materials(services.database, services.catalog.positives, services.retrieval)
    runner = RoundRunner(
        services.database, services.ledger, materials, services.model, checkpoint=checkpoint
    )
    await services.ledger.start("second", [user], 1, PLAN, Budget())
    learner = Learner(services.ledger, runner)
    while await learner.advance(limit=1, seconds=60):
        pass

    assert done == [RolledBack(active[user], None, 2)]
    progress = await services.ledger.progress("second")
    assert (progress.run.state, progress.done) == ("done", 1)
    async with services.database.reading() as session:
        memory = await memory_of(session, user, None, 100)
    taken_back = next(one for one in memory.variants if one.variant_id == active[user])
    assert {taken_back.active, taken_back.incumbent, taken_back.effective} == {False}


async def _active(services: Services, user: str) -> str | None:
    async with services.database.reading() as session:
        return (await memory_of(session, user, None, 1)).active
