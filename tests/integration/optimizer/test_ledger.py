"""Rounds: who may take one, what it costs, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.models import User
from services.llm.port import Usage
from services.optimizer.ledger import Claimed, LeaseLost, Ledger
from services.optimizer.models import PartState, RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget, Cost
from services.optimizer.spending import BudgetInUse, OutOfBudget, RunCancelled
from services.settings import Settings
from services.storage.database import open_database
from tests.integration.optimizer.ledgers import ATTEMPTS, LEASE, PARK, Clock, Shop

CALL = Cost(calls=2, tokens=100)
USED = Usage(prompt=60, completion=10, cached=40)


async def start(
    shop: Shop,
    run_id: str,
    *users: str,
    rounds: int = 1,
    budget: Budget | None = None,
    plan: Plan | None = None,
) -> None:
    await shop.ledger.start(run_id, users, rounds, plan or Plan(), budget or Budget())
    shop.clock.forward(1)


async def claim_one(shop: Shop) -> Claimed:
    (claimed,) = await shop.ledger.claim(1)
    return claimed


# --- taking ---------------------------------------------------------------------------------------


async def test_rounds_are_taken_oldest_first_whichever_run_they_are_of(shop: Shop) -> None:
    await start(shop, "b", "bob")
    await start(shop, "a", "ada", plan=Plan(seed=7))
    await start(shop, "c", "eve")
    first, second = await shop.ledger.claim(2)
    assert (first.user_id, first.run_id, first.number, first.attempt) == ("bob", "b", 1, 1)
    assert (second.user_id, second.run_id, second.plan) == ("ada", "a", Plan(seed=7))
    assert [one.user_id for one in await shop.ledger.claim(2)] == ["eve"]
    assert await shop.ledger.claim(2) == []


async def test_eight_that_claim_at_once_never_get_the_same_round(
    shop: Shop, database_url: str
) -> None:
    users = [f"user-{number:02}" for number in range(40)]
    await shop.come(*users)
    await start(shop, "run", *users)
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(another_process(shop, database_url)) for _ in range(8)
        ]

        async def work(ledger: Ledger) -> list[str]:
            taken: list[str] = []
            while claimed := await ledger.claim(3):
                taken += [one.user_id for one in claimed]
            return taken

        taken = [user for mine in await asyncio.gather(*map(work, workers)) for user in mine]
    assert sorted(taken) == users


@contextlib.asynccontextmanager
async def another_process(shop: Shop, database_url: str) -> AsyncIterator[Ledger]:
    database = open_database(Settings.model_validate({"database_url": database_url}))
    yield Ledger(database, shop.metrics, now=shop.clock)
    await database.aclose()


async def test_the_backlog_is_what_could_be_taken_now(shop: Shop) -> None:
    await start(shop, "run", "ada", "bob", "eve", rounds=2)
    assert await shop.ledger.backlog() == 3
    first, _ = await shop.ledger.claim(2)
    assert await shop.ledger.backlog() == 1
    await shop.ledger.park(first, "the model is down")
    assert await shop.ledger.backlog() == 1
    shop.clock.forward(2 * LEASE)
    assert await shop.ledger.backlog() == 3
    assert shop.counted("lrgd_rounds_backlog") == {"": 3}


async def test_settings_that_this_version_does_not_know_fail_their_round_and_no_other(
    shop: Shop,
) -> None:
    await start(shop, "old", "ada")
    await start(shop, "new", "bob")

    async def age(session: AsyncSession) -> None:
        await session.execute(update(Run).where(Run.run_id == "old").values(settings={"gone": 1}))

    await shop.database.write(age)
    assert [one.user_id for one in await shop.ledger.claim(10)] == ["bob"]
    books = await shop.expect_in_order()
    assert books.runs["old"].state == RunState.DONE
    assert "not of this version" in (books.part("old", "ada").reason or "")


# --- leases ---------------------------------------------------------------------------------------


async def test_a_round_whose_worker_died_is_taken_by_another_and_the_dead_write_nothing(
    shop: Shop,
) -> None:
    await start(shop, "run", "ada")
    dead = await claim_one(shop)
    shop.clock.forward(LEASE + 1)
    heir = await claim_one(shop)
    assert (heir.round_id, heir.attempt) == (dead.round_id, 2)
    attempts: list[Callable[[], Awaitable[None]]] = [
        lambda: shop.ledger.extend(dead),
        lambda: shop.ledger.reserve(dead, CALL),
        lambda: shop.settle(dead, USED),
        lambda: shop.finish(dead),
        lambda: shop.ledger.park(dead, ""),
        lambda: shop.ledger.skip(dead, ""),
        lambda: shop.ledger.fail(dead, "", final=True),
        lambda: shop.ledger.cancelled(dead),
        lambda: shop.ledger.out_of_budget(dead),
    ]
    for attempt in attempts:
        with pytest.raises(LeaseLost):
            await attempt()
    await shop.finish(heir)
    books = await shop.expect_in_order()
    assert books.runs["run"].state == RunState.DONE
    assert shop.counted("lrgd_lease_expiries_total") == {"": 1}
    assert shop.counted("lrgd_rounds_total") == {"done": 1}


async def test_a_lease_that_is_over_does_no_harm_while_nobody_else_has_the_round(
    shop: Shop,
) -> None:
    await start(shop, "run", "ada")
    slow = await claim_one(shop)
    shop.clock.forward(10 * LEASE)
    await shop.ledger.extend(slow)
    assert await shop.ledger.sweep() == 0
    await shop.finish(slow)
    await shop.expect_in_order()


async def test_calls_in_flight_of_a_dead_worker_are_lost_and_paid(shop: Shop) -> None:
    await start(shop, "run", "ada", budget=Budget(calls=10))
    dead = await claim_one(shop)
    await shop.ledger.reserve(dead, CALL)
    await shop.settle(dead, USED, calls=2)
    await shop.ledger.reserve(dead, CALL)
    shop.clock.forward(LEASE + 1)
    assert await shop.ledger.sweep() == 1
    assert await shop.ledger.sweep() == 0
    books = await shop.expect_in_order()
    run, (round_,) = books.runs["run"], books.rounds
    assert (run.spent_calls, run.spent_tokens) == (4, 170)
    assert (run.reserved_calls, run.reserved_tokens) == (0, 0)
    assert (round_.calls, round_.lost_calls, round_.lost_tokens) == (2, 2, 100)
    assert (round_.prompt_tokens, round_.cached_tokens, round_.completion_tokens) == (60, 40, 10)
    assert shop.counted("lrgd_lost_calls_total") == {"": 2}


async def test_a_round_that_kills_its_workers_fails_with_a_reason(shop: Shop) -> None:
    await start(shop, "run", "ada", "bob")
    for attempt in range(1, ATTEMPTS + 1):
        claimed = await shop.ledger.claim(2)
        (one,) = [one for one in claimed if one.user_id == "ada"]
        assert one.attempt == attempt
        for other in claimed:
            if other.user_id == "bob":
                await shop.finish(other)
        shop.clock.forward(LEASE + 1)
    assert await shop.ledger.claim(2) == []
    books = await shop.expect_in_order()
    assert books.runs["run"].state == RunState.DONE
    part = books.part("run", "ada")
    assert (part.state, part.reason) == (PartState.FAILED, "taken 3 times and never finished")
    assert books.part("run", "bob").state == PartState.DONE


# --- how rounds end -------------------------------------------------------------------------------


async def test_a_parked_round_waits_and_its_attempt_is_not_counted(shop: Shop) -> None:
    await start(shop, "run", "ada")
    for _ in range(3 * ATTEMPTS):
        one = await claim_one(shop)
        assert one.attempt == 1
        await shop.ledger.reserve(one, CALL)
        await shop.ledger.park(one, "the model is down")
        assert await shop.ledger.claim(1) == []
        shop.clock.forward(2 * PARK)
    books = await shop.expect_in_order()
    assert books.runs["run"].spent_calls == 0
    assert shop.counted("lrgd_rounds_put_back_total") == {"parked": 3 * ATTEMPTS}


async def test_a_round_that_fails_is_tried_again_and_then_fails_with_its_error(
    shop: Shop,
) -> None:
    await start(shop, "run", "ada")
    for attempt in range(1, ATTEMPTS + 1):
        one = await claim_one(shop)
        assert one.attempt == attempt
        await shop.ledger.fail(one, f"broken {attempt}")
        assert await shop.ledger.claim(1) == []
        shop.clock.forward(2 * PARK)
    books = await shop.expect_in_order()
    part = books.part("run", "ada")
    assert (part.state, part.reason) == (PartState.FAILED, "broken 3")
    assert shop.counted("lrgd_rounds_total") == {"failed": 1}


async def test_what_was_last_heard_of_a_round_that_was_never_finished_is_told(
    shop: Shop,
) -> None:
    await start(shop, "run", "ada")
    await shop.ledger.fail(await claim_one(shop), "broken")
    for _ in range(2):
        shop.clock.forward(2 * LEASE)
        await claim_one(shop)
    shop.clock.forward(2 * LEASE)
    await shop.ledger.sweep()
    reason = (await shop.expect_in_order()).part("run", "ada").reason
    assert reason == "taken 3 times and never finished; last heard of it: broken"


async def test_a_final_failure_is_not_tried_again(shop: Shop) -> None:
    await start(shop, "run", "ada")
    await shop.ledger.fail(await claim_one(shop), "hopeless", final=True)
    books = await shop.expect_in_order()
    assert books.states("ada") == [(1, "run", RoundState.FAILED)]


async def test_rounds_follow_each_other_until_the_part_has_all_of_them(shop: Shop) -> None:
    await start(shop, "run", "ada", rounds=3)
    for number in (1, 2, 3):
        one = await claim_one(shop)
        assert one.number == number
        shop.clock.forward(5)
        await shop.finish(one, {"number": number})
    books = await shop.expect_in_order()
    assert await shop.ledger.claim(1) == []
    assert books.runs["run"].state == RunState.DONE
    assert [one.outcome for one in books.rounds] == [{"number": n} for n in (1, 2, 3)]
    assert [one.seconds for one in books.rounds] == [5.0, 5.0, 5.0]


async def test_what_is_rolled_back_was_neither_done_nor_counted(shop: Shop) -> None:
    await start(shop, "run", "ada")
    one = await claim_one(shop)

    async def work(session: AsyncSession) -> None:
        await shop.ledger.finish(session, one, {})
        raise LookupError

    with pytest.raises(LookupError):
        await shop.database.write(work)
    assert (await shop.expect_in_order()).states("ada") == [(1, "run", RoundState.RUNNING)]
    assert shop.counted("lrgd_rounds_total") == {}


async def test_results_and_the_end_may_be_one_transaction(shop: Shop) -> None:
    await start(shop, "run", "ada", rounds=2)
    one = await claim_one(shop)
    await shop.ledger.reserve(one, CALL)

    async def work(session: AsyncSession) -> None:
        await shop.ledger.settle(session, one, USED, 1)
        await shop.ledger.finish(session, one, {})

    await shop.database.write(work)
    books = await shop.expect_in_order()
    assert (books.runs["run"].spent_calls, books.rounds[0].lost_calls) == (1, 0)


# --- runs that meet -------------------------------------------------------------------------------


async def test_a_second_run_joins_the_waiting_round_and_it_counts_for_both(shop: Shop) -> None:
    await start(shop, "first", "ada", plan=Plan(seed=1))
    await start(shop, "second", "ada", rounds=2, plan=Plan(seed=2))
    one = await claim_one(shop)
    assert one.plan.seed == 1
    await shop.finish(one)
    books = await shop.expect_in_order()
    assert books.runs["first"].state == RunState.DONE
    assert books.part("second", "ada").done == 1
    last = await claim_one(shop)
    assert (last.number, last.run_id, last.plan.seed) == (2, "second", 2)
    await shop.finish(last)
    assert (await shop.expect_in_order()).runs["second"].state == RunState.DONE


async def test_who_asks_while_a_round_runs_gets_the_next_one(shop: Shop) -> None:
    await start(shop, "first", "ada")
    one = await claim_one(shop)
    await start(shop, "second", "ada")
    assert await shop.ledger.claim(1) == [], "never two running rounds for a user"
    await shop.finish(one)
    books = await shop.expect_in_order()
    assert books.part("second", "ada").done == 0
    assert (await claim_one(shop)).run_id == "second"


async def test_a_round_put_back_takes_in_the_one_that_was_asked_for_meanwhile(
    shop: Shop,
) -> None:
    await start(shop, "first", "ada")
    one = await claim_one(shop)
    await start(shop, "second", "ada")
    await shop.ledger.park(one, "the model is down")
    books = await shop.expect_in_order()
    assert books.states("ada") == [(1, "first", RoundState.PARKED)]
    shop.clock.forward(2 * PARK)
    await shop.finish(await claim_one(shop))
    books = await shop.expect_in_order()
    assert {run.state for run in books.runs.values()} == {RunState.DONE}


async def test_a_round_put_back_takes_in_whoever_waited_for_a_later_one(shop: Shop) -> None:
    """Also one whose own waiting round went with another run."""
    await start(shop, "first", "ada")
    one = await claim_one(shop)
    await start(shop, "second", "ada")
    await start(shop, "third", "ada")
    await shop.ledger.cancel("second")
    await shop.ledger.park(one, "the model is down")
    books = await shop.expect_in_order()
    assert books.states("ada") == [
        (1, "first", RoundState.PARKED),
        (2, "second", RoundState.CANCELLED),
    ]
    shop.clock.forward(2 * PARK)
    await shop.finish(await claim_one(shop))
    assert (await shop.expect_in_order()).runs["third"].state == RunState.DONE


async def test_a_failure_is_of_the_run_whose_settings_failed(shop: Shop) -> None:
    await start(shop, "first", "ada")
    await start(shop, "second", "ada")
    await shop.ledger.fail(await claim_one(shop), "broken", final=True)
    books = await shop.expect_in_order()
    assert books.part("first", "ada").state == PartState.FAILED
    assert books.states("ada")[1:] == [(2, "second", RoundState.WAITING)]


async def test_who_cannot_learn_yet_is_skipped_by_all_that_had_joined(shop: Shop) -> None:
    await start(shop, "first", "ada", rounds=3)
    await start(shop, "second", "ada")
    one = await claim_one(shop)
    await start(shop, "third", "ada")
    await shop.ledger.skip(one, "too few positives")
    books = await shop.expect_in_order()
    for run_id in ("first", "second"):
        part = books.part(run_id, "ada")
        assert (part.state, part.reason) == (PartState.SKIPPED, "too few positives")
    assert books.part("third", "ada").state == PartState.OPEN


# --- budgets --------------------------------------------------------------------------------------


async def test_what_calls_leave_of_their_reserve_is_free_again(shop: Shop) -> None:
    await start(shop, "run", "ada", budget=Budget(calls=3, tokens=180))
    one = await claim_one(shop)
    await shop.ledger.reserve(one, CALL)
    await shop.settle(one, USED, calls=1)
    await shop.ledger.reserve(one, CALL)
    run = (await shop.expect_in_order()).runs["run"]
    assert (run.spent_tokens, run.reserved_tokens) == (70, 100)


async def test_calls_that_others_in_flight_may_leave_room_for_are_put_off(shop: Shop) -> None:
    await start(shop, "run", "ada", "bob", budget=Budget(tokens=180))
    first, second = await shop.ledger.claim(2)
    await shop.ledger.reserve(first, CALL)
    with pytest.raises(BudgetInUse):
        await shop.ledger.reserve(second, CALL)
    await shop.ledger.park(second, "the budget is in use")
    await shop.settle(first, USED)
    await shop.finish(first)
    shop.clock.forward(2 * PARK)
    await shop.ledger.reserve(await claim_one(shop), CALL)
    await shop.expect_in_order()


async def test_a_run_out_of_budget_ends_for_all_its_users_and_for_no_other_run(
    shop: Shop,
) -> None:
    await start(shop, "poor", "ada", "bob", "eve", budget=Budget(tokens=180))
    first, second = await shop.ledger.claim(2)
    await start(shop, "rich", "ada", "bob", "eve")
    for _ in range(2):
        await shop.ledger.reserve(first, Cost(1, 90))
        await shop.settle(first, Usage(prompt=90, completion=0))
    with pytest.raises(OutOfBudget):
        await shop.ledger.reserve(first, Cost(1, 1))
    await shop.ledger.out_of_budget(first)
    books = await shop.expect_in_order()
    assert books.runs["poor"].state == RunState.OUT_OF_BUDGET
    assert {part.state for part in books.parts if part.run_id == "poor"} == {
        PartState.OUT_OF_BUDGET
    }
    with pytest.raises(OutOfBudget):
        await shop.ledger.reserve(second, Cost(1, 0))
    await shop.ledger.out_of_budget(second)
    await shop.expect_in_order()
    for one in await shop.ledger.claim(3):
        assert one.run_id == "rich"
        await shop.finish(one)
    assert (await shop.expect_in_order()).runs["rich"].state == RunState.DONE


async def test_those_who_reserve_at_once_never_go_over_the_budget(
    shop: Shop, database_url: str
) -> None:
    users = [f"user-{number}" for number in range(8)]
    await shop.come(*users)
    await start(shop, "run", *users, budget=Budget(calls=5))
    claimed = await shop.ledger.claim(8)
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(another_process(shop, database_url)) for _ in claimed
        ]

        async def reserve(ledger: Ledger, one: Claimed) -> bool:
            try:
                await ledger.reserve(one, Cost(calls=1))
            except BudgetInUse:
                return False
            return True

        got = await asyncio.gather(*map(reserve, workers, claimed))
    assert sum(got) == 5
    await shop.expect_in_order()


async def test_a_round_of_a_cancelled_run_ends_at_its_next_call(shop: Shop) -> None:
    await start(shop, "run", "ada")
    await start(shop, "other", "ada")
    one = await claim_one(shop)
    await shop.ledger.reserve(one, CALL)
    await shop.ledger.cancel("run")
    await shop.settle(one, USED)
    with pytest.raises(RunCancelled):
        await shop.ledger.reserve(one, CALL)
    await shop.ledger.cancelled(one)
    books = await shop.expect_in_order()
    assert books.states("ada") == [
        (1, "run", RoundState.CANCELLED),
        (2, "other", RoundState.WAITING),
    ]


# --- users who leave ------------------------------------------------------------------------------


async def test_a_user_who_leaves_in_mid_round_is_paid_for_and_waited_for_no_longer(
    shop: Shop,
) -> None:
    await start(shop, "run", "ada", "bob")
    for one in await shop.ledger.claim(2):
        if one.user_id == "ada":
            leaving = one
        else:
            await shop.finish(one)
    await shop.ledger.reserve(leaving, CALL)
    await shop.go("ada")
    with pytest.raises(LeaseLost):
        await shop.settle(leaving, USED)
    with pytest.raises(LeaseLost):
        await shop.finish(leaving)
    run = (await shop.expect_in_order(nobody_left=False)).runs["run"]
    assert run.state == RunState.DONE
    assert (run.spent_calls, run.spent_tokens, run.reserved_calls) == (2, 100, 0)


async def test_rows_that_went_with_their_user_are_a_lost_lease(shop: Shop) -> None:
    await start(shop, "run", "ada")
    one = await claim_one(shop)

    async def work(session: AsyncSession) -> None:
        await session.execute(delete(User).where(User.user_id == "ada"))

    await shop.database.write(work)
    with pytest.raises(LeaseLost):
        await shop.finish(one)
    assert (await shop.read()).rounds == []


def test_the_clock_is_utc_unless_a_test_moves_it(shop: Shop) -> None:
    assert Ledger(shop.database, shop.metrics)._now().utcoffset() == Clock()().utcoffset()
