"""Anything may happen to the ledger, in any order: its books are in order after each of it, and
whatever was asked for comes to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from lab.servers.valkey import PrivateValkey
from services.catalog.inputs import NewEvent
from services.catalog.models import Item, User
from services.catalog.repository import CatalogRepository
from services.errors import Conflict
from services.llm.port import Usage
from services.optimizer.ledger import Claimed, LeaseLost
from services.optimizer.models import RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget, Cost
from services.optimizer.spending import BudgetInUse, OutOfBudget, RunCancelled
from services.settings import Settings
from services.storage.database import Database, open_database
from tests.integration.optimizer.ledgers import LEASE, PARK, Shop

Result = TypeVar("Result")

USERS = ("ada", "bob", "eve")
BUDGETS = (Budget(), Budget(calls=4), Budget(tokens=60), Budget(calls=7, tokens=200))
MOMENT = 0.01  # many of them are no time, or the spread of what is parked would show
EXAMPLES = {"sqlite": 50, "postgresql": 25}  # a thousand, by hand, look further

some_users = st.sets(st.sampled_from(USERS), min_size=1).map(tuple)
costs = st.builds(Cost, st.integers(1, 3), st.integers(1, 40))
any_of = st.integers(0, 2**16)


class LedgerMachine(RuleBasedStateMachine):
    """Workers hold rounds, as `held`; each may have calls in flight. A worker whose lease is over
    does not know it: it goes on until the ledger tells it."""

    def __init__(self, runner: asyncio.Runner, database: Database, valkey: PrivateValkey) -> None:
        super().__init__()
        self._runner = runner
        self._valkey = valkey
        self.shop = Shop(database)
        self.asked: dict[str, tuple[Any, ...]] = {}
        self.held: dict[str, Claimed] = {}
        self.in_flight: dict[str, Cost] = {}
        self.nobody_left = True
        self.events = 0

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    # --- asking ----------------------------------------------------------------------------------

    @initialize(budget=st.sampled_from(BUDGETS))
    def open_the_shop(self, budget: Budget) -> None:
        async def work(session: AsyncSession) -> None:
            for table in (Run, User, Item):
                await session.execute(delete(table))

        self.run(self.shop.database.write(work))
        self.run(self.shop.come(*USERS))
        # Into the middle of things: two of the users have a running round.
        self.start(USERS, 2, budget)
        self.claim(2)

    @rule(users=some_users, rounds=st.integers(1, 2), budget=st.sampled_from(BUDGETS))
    def start(self, users: tuple[str, ...], rounds: int, budget: Budget) -> None:
        run_id = f"run-{len(self.asked)}"
        self.asked[run_id] = (users, rounds, Plan(seed=len(self.asked)), budget)
        self.shop.clock.forward(MOMENT)
        self.run(self.shop.ledger.start(run_id, *self.asked[run_id]))

    @precondition(lambda self: self.asked)
    @rule(which=any_of)
    def start_again(self, which: int) -> None:
        run_id = self._run_of(which)
        users, rounds, plan, budget = self.asked[run_id]
        before = self.run(self.shop.read())
        self.run(self.shop.ledger.start(run_id, users, rounds, plan, budget))
        after = self.run(self.shop.read())
        assert len(after.rounds) == len(before.rounds)
        with pytest.raises(Conflict):
            self.run(self.shop.ledger.start(run_id, users, rounds + 1, plan, budget))

    @rule(user=st.sampled_from(USERS))
    def new_event(self, user: str) -> None:
        """It asks for one more round of its user."""
        self.events += 1

        async def work(session: AsyncSession) -> None:
            catalog, now = CatalogRepository(session), self.shop.clock()
            await catalog.ensure_items({"lamp"}, now)
            event = NewEvent(
                event_id=f"event-{self.events}", user_id=user, item_id="lamp", type="purchase"
            )
            await catalog.insert_events([event], now)

        self.run(self.shop.database.write(work))
        self.start((user,), 1, Budget())

    @precondition(lambda self: self.asked)
    @rule(which=any_of)
    def cancel(self, which: int) -> None:
        self.run(self.shop.ledger.cancel(self._run_of(which)))

    @precondition(lambda self: self.asked)
    @rule(which=any_of)
    def retry(self, which: int) -> None:
        run_id = self._run_of(which)
        over = self.run(self.shop.read()).runs[run_id].state not in {
            RunState.RUNNING,
            RunState.DONE,
        }
        try:
            self.run(self.shop.ledger.retry(run_id))
        except Conflict:
            assert over

    # --- working ---------------------------------------------------------------------------------

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        self._hold(self.run(self.shop.ledger.claim(limit)))

    @rule()
    def two_claim_at_once(self) -> None:
        async def both() -> tuple[list[Claimed], list[Claimed]]:
            return await asyncio.gather(self.shop.ledger.claim(2), self.shop.ledger.claim(2))

        first, second = self.run(both())
        self._hold(first + second)

    @precondition(lambda self: self.held)
    @rule(cost=costs)
    def all_call(self, cost: Cost) -> None:
        for claimed in list(self.held.values()):
            if claimed.lease not in self.in_flight:
                self._call(claimed, cost)

    def _call(self, claimed: Claimed, cost: Cost) -> None:
        try:
            if self._done_while_held(claimed, self.shop.ledger.reserve(claimed, cost)):
                self.in_flight[claimed.lease] = cost
        except RunCancelled:
            self._let_go(claimed, self.shop.ledger.cancelled(claimed))
        except OutOfBudget:
            self._let_go(claimed, self.shop.ledger.out_of_budget(claimed))
        except BudgetInUse:
            self._let_go(claimed, self.shop.ledger.park(claimed, "the budget is in use"))

    @precondition(lambda self: self.in_flight)
    @rule(which=any_of, tokens=st.integers(0, 40))
    def answer(self, which: int, tokens: int) -> None:
        """It cost what was reserved, or less."""
        lease = list(self.in_flight)[which % len(self.in_flight)]
        cost, claimed = self.in_flight.pop(lease), self.held[lease]
        spent = min(tokens, cost.tokens)
        usage = Usage(prompt=spent - spent // 3, completion=spent // 3, cached=spent // 2)
        before = self.run(self.shop.read()).runs[claimed.run_id]
        if self._done_while_held(claimed, self.shop.settle(claimed, usage, cost.calls)):
            after = self.run(self.shop.read()).runs[claimed.run_id]
            assert after.spent_tokens == before.spent_tokens + spent
            assert after.spent_calls == before.spent_calls + cost.calls
            assert after.reserved_tokens == before.reserved_tokens - cost.tokens
            assert after.reserved_calls == before.reserved_calls - cost.calls

    @precondition(lambda self: self.held)
    @rule(which=any_of)
    def extend(self, which: int) -> None:
        claimed = self._held_one(which)
        self._done_while_held(claimed, self.shop.ledger.extend(claimed))

    @precondition(lambda self: self.held)
    @rule(which=any_of)
    def finish(self, which: int) -> None:
        claimed = self._held_one(which)
        self._let_go(claimed, self.shop.finish(claimed))

    @precondition(lambda self: self.held)
    @rule(which=any_of)
    def park(self, which: int) -> None:
        claimed = self._held_one(which)
        self._let_go(claimed, self.shop.ledger.park(claimed, "the model is down"))

    @precondition(lambda self: self.held)
    @rule(which=any_of, final=st.booleans())
    def fail(self, which: int, final: bool) -> None:
        claimed = self._held_one(which)
        self._let_go(claimed, self.shop.ledger.fail(claimed, "it broke", final))

    @precondition(lambda self: self.held)
    @rule(which=any_of)
    def skip(self, which: int) -> None:
        claimed = self._held_one(which)
        self._let_go(claimed, self.shop.ledger.skip(claimed, "too few positives"))

    # --- what befalls them -----------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(which=any_of)
    def crash(self, which: int) -> None:
        self._forget(self._held_one(which))

    @rule(seconds=st.sampled_from([MOMENT, 2 * PARK, 2 * LEASE]))
    def time_passes(self, seconds: float) -> None:
        self.shop.clock.forward(seconds)

    @rule()
    def sweep(self) -> None:
        self.run(self.shop.ledger.sweep())

    @rule()
    def flush_redis(self) -> None:
        with self._valkey.client as client:
            client.flushall()

    @rule(user=st.sampled_from(USERS))
    def leave_and_come_back(self, user: str) -> None:
        self.nobody_left = False
        self.run(self.shop.go(user))
        self.run(self.shop.come(user))

    # --- what holds ------------------------------------------------------------------------------

    @invariant()
    def the_books_are_in_order(self) -> None:
        self.run(self.shop.expect_in_order(nobody_left=self.nobody_left))

    def teardown(self) -> None:
        """Whatever has happened, some worker brings it to an end."""
        self.run(self._to_the_end())

    async def _to_the_end(self) -> None:
        for _ in range(200):
            self.shop.clock.forward(2 * LEASE)
            claimed = await self.shop.ledger.claim(10)
            for one in claimed:
                await self.shop.finish(one)
            if not claimed and not await self.shop.ledger.sweep():
                break
        books = await self.shop.expect_in_order(nobody_left=self.nobody_left)
        assert all(run.state != RunState.RUNNING for run in books.runs.values())
        assert all(one.state not in {"waiting", "running", "parked"} for one in books.rounds)
        assert await self.shop.ledger.backlog() == 0

    # --- beneath ---------------------------------------------------------------------------------

    def _hold(self, claimed: list[Claimed]) -> None:
        rounds = {one.round_id: one for one in self.run(self.shop.read()).rounds}
        # In an order of their own, so that examples can be repeated.
        for one in sorted(claimed, key=lambda each: each.user_id):
            assert rounds[one.round_id].lease == one.lease, "somebody else has it, too"
            assert rounds[one.round_id].state == RoundState.RUNNING
            assert one.plan == self.asked[one.run_id][2]
            self.held[one.lease] = one

    def _done_while_held(self, claimed: Claimed, work: Coroutine[Any, Any, None]) -> bool:
        """The ledger does it if and only if the worker still has the round."""
        held = any(one.lease == claimed.lease for one in self.run(self.shop.read()).rounds)
        try:
            self.run(work)
        except LeaseLost:
            assert not held
            self._forget(claimed)
        else:
            assert held, "somebody who has lost the round wrote something"
        return held

    def _let_go(self, claimed: Claimed, work: Coroutine[Any, Any, None]) -> None:
        if self._done_while_held(claimed, work):
            self._forget(claimed)

    def _forget(self, claimed: Claimed) -> None:
        del self.held[claimed.lease]
        self.in_flight.pop(claimed.lease, None)

    def _held_one(self, which: int) -> Claimed:
        return self.held[list(self.held)[which % len(self.held)]]

    def _run_of(self, which: int) -> str:
        return sorted(self.asked)[which % len(self.asked)]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(database_url: str, runner: asyncio.Runner) -> Iterator[Database]:
    database = open_database(Settings.model_validate({"database_url": database_url}))
    yield database
    runner.run(database.aclose())


def test_the_books_are_in_order_whatever_happens(
    runner: asyncio.Runner, database: Database, valkey: PrivateValkey
) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(runner, database, valkey)

    examples = EXAMPLES[database.dialect]
    run_state_machine_as_test(
        Machine, settings=settings(max_examples=examples, stateful_step_count=50, deadline=None)
    )
