"""Runs: asking, asking again, cancelling, trying again, and what is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.errors import Conflict, InvalidRequest, NotFound
from services.llm.port import Usage
from services.optimizer import runs as runs_module
from services.optimizer.expectation import FEWEST
from services.optimizer.ledger import Claimed
from services.optimizer.models import PartState, RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.optimizer.progress import PathProgress, Tokens
from services.optimizer.rules import Budget, Cost, Expected, Quality
from tests.integration.optimizer.ledgers import Shop

USERS = ("ada", "bob", "eve")
NO_LIMIT = Budget()


async def claim_one(shop: Shop) -> Claimed:
    (claimed,) = await shop.ledger.claim(1)
    return claimed


# --- starting -------------------------------------------------------------------------------------


async def test_a_run_makes_one_waiting_round_for_each_user(shop: Shop) -> None:
    plan = Plan(paths=2, seed=3)
    assert await shop.ledger.start("run", [*USERS, "ada"], 4, plan, Budget(9, 90)) == "run"
    books = await shop.expect_in_order()
    for user in USERS:
        assert books.states(user) == [(1, "run", RoundState.WAITING)]
        assert books.part("run", user).wanted == 4
    run = books.runs["run"]
    assert Plan.of_row(run.settings) == plan
    assert (run.budget_calls, run.budget_tokens) == (9, 90)


async def test_a_run_expects_what_the_rounds_before_it_have_found(shop: Shop) -> None:
    one_text = {"written": True, "kind": "single", "effect_d": 0.5, "log_score": -2.0}
    told = {"zero_shot": {"effect_d": 0.2, "log_score": -3.0}, "paths": [one_text] * FEWEST}
    await shop.ledger.start("first", ["ada"], 1, Plan(), NO_LIMIT)
    await shop.finish(await claim_one(shop), told)
    await shop.ledger.start("second", ["ada"], 1, Plan(), NO_LIMIT)
    claimed = await claim_one(shop)
    assert claimed.plan.expected is not None
    assert claimed.plan.expected.single.log_score == pytest.approx(1.0)
    assert claimed.plan.expected.single.effect_d == pytest.approx(0.3)
    # Whatever is found meanwhile: all rounds of a run expect the same, and asking again is safe.
    await shop.finish(claimed, {**told, "paths": [{**one_text, "log_score": -9.0}] * FEWEST})
    await shop.ledger.start("second", ["ada"], 1, Plan(), NO_LIMIT)
    run = (await shop.read()).runs["second"]
    assert Plan.of_row(run.settings).expected == claimed.plan.expected
    # What was judged in another way gained another amount.
    await shop.ledger.start("part", ["ada"], 1, Plan(step_size=0.5), NO_LIMIT)
    assert Plan.of_row((await shop.read()).runs["part"].settings).expected is None
    # Those who know better say so.
    known = Plan(expected=Expected(single=Quality(0.0, 0.1), pair=Quality(0.0, 0.2)))
    await shop.ledger.start("given", ["ada"], 1, known, NO_LIMIT)
    assert Plan.of_row((await shop.read()).runs["given"].settings) == known


async def test_settings_of_a_newer_version_tell_an_older_one_nothing(shop: Shop) -> None:
    await shop.ledger.start("newer", ["ada"], 1, Plan(), NO_LIMIT)

    async def replaced(session: AsyncSession) -> None:
        (run,) = await session.scalars(select(Run))
        run.settings = {**run.settings, "not_known_here": 1}

    await shop.database.write(replaced)
    await shop.ledger.start("ours", ["bob"], 1, Plan(), NO_LIMIT)
    assert Plan.of_row((await shop.read()).runs["ours"].settings) == Plan()


async def test_the_same_call_is_the_same_run_when_the_settings_of_lists_have_changed(
    shop: Shop,
) -> None:
    before = Plan(step_size=0.5)
    await shop.ledger.start("run", ["ada"], 1, before, NO_LIMIT, asked=Plan())
    await shop.ledger.start("run", ["ada"], 1, Plan(), NO_LIMIT, asked=Plan())
    assert Plan.of_row((await shop.expect_in_order()).runs["run"].settings) == before


async def test_a_run_without_an_id_gets_one(shop: Shop) -> None:
    first = await shop.ledger.start(None, ["ada"], 1, Plan(), NO_LIMIT)
    assert first != await shop.ledger.start(None, ["ada"], 1, Plan(), NO_LIMIT)
    assert len((await shop.expect_in_order()).runs) == 2


async def test_the_same_call_again_changes_nothing_and_another_is_a_conflict(shop: Shop) -> None:
    await shop.ledger.start("run", ["ada", "bob"], 1, Plan(), NO_LIMIT)
    await shop.ledger.start("run", ["bob", "ada"], 1, Plan(), Budget(None, None))
    others: list[tuple[list[str], int, Plan, Budget]] = [
        (["ada"], 1, Plan(), NO_LIMIT),
        (["ada", "bob"], 2, Plan(), NO_LIMIT),
        (["ada", "bob"], 1, Plan(seed=1), NO_LIMIT),
        (["ada", "bob"], 1, Plan(), Budget(calls=1)),
    ]
    for asked in others:
        with pytest.raises(Conflict):
            await shop.ledger.start("run", *asked)
    assert len((await shop.expect_in_order()).rounds) == 2


async def test_users_that_nobody_knows_are_named_and_nothing_is_started(shop: Shop) -> None:
    with pytest.raises(NotFound, match="2 of the users are not known: 'nemo', 'nobody'"):
        await shop.ledger.start("run", ["ada", "nobody", "nemo"], 1, Plan(), NO_LIMIT)
    with pytest.raises(NotFound, match="and 15 more"):
        await shop.ledger.start("run", [f"x{n}" for n in range(25)], 1, Plan(), NO_LIMIT)
    with pytest.raises(InvalidRequest):
        await shop.ledger.start("run", ["ada"], 0, Plan(), NO_LIMIT)
    assert (await shop.expect_in_order()).runs == {}


async def test_a_run_of_nobody_is_done(shop: Shop) -> None:
    await shop.ledger.start("run", [], 1, Plan(), NO_LIMIT)
    assert (await shop.expect_in_order()).runs["run"].state == RunState.DONE


async def test_a_start_that_was_broken_off_goes_on_and_does_nothing_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "USERS_A_STEP", 2)
    users = [f"user-{number}" for number in range(7)]
    await shop.come(*users)
    ledger = shop.ledger
    enter, steps = ledger._enter, 0

    async def enter_some(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise ConnectionError
        await enter(*arguments)

    monkeypatch.setattr(ledger, "_enter", enter_some)
    with pytest.raises(ConnectionError):
        await ledger.start("run", users, 1, Plan(), NO_LIMIT)
    early = await shop.ledger.claim(10)
    assert len(early) == 4, "the first users need not wait for the last"
    for one in early:
        await shop.finish(one)
    assert (await shop.read()).runs["run"].state == RunState.RUNNING, "more are to come"
    await shop.go("user-6")
    await shop.ledger.start("run", users, 1, Plan(), NO_LIMIT)
    late = await shop.ledger.claim(10)
    assert [one.user_id for one in late] == ["user-4", "user-5"]
    for one in late:
        await shop.finish(one)
    assert (await shop.expect_in_order()).runs["run"].state == RunState.DONE


async def test_a_run_cancelled_while_it_starts_gets_no_more_users(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs_module, "USERS_A_STEP", 1)
    ledger = shop.ledger
    enter, steps = ledger._enter, 0

    async def enter_and_cancel(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        await enter(*arguments)
        if steps == 2:
            await shop.ledger.cancel("run")

    monkeypatch.setattr(ledger, "_enter", enter_and_cancel)
    await ledger.start("run", USERS, 1, Plan(), NO_LIMIT)
    books = await shop.expect_in_order()
    assert [part.user_id for part in books.parts] == ["ada", "bob"]
    assert books.runs["run"].state == RunState.CANCELLED


async def test_thousands_of_users_are_entered_in_batches(shop: Shop) -> None:
    users = [f"user-{number:04}" for number in range(1200)]
    await shop.come(*users)
    await shop.ledger.start("run", users, 2, Plan(), NO_LIMIT)
    assert await shop.ledger.backlog() == 1200
    await shop.ledger.cancel("run")
    books = await shop.expect_in_order()
    assert {part.state for part in books.parts} == {PartState.CANCELLED}
    assert shop.counted("lrgd_rounds_total") == {"cancelled": 1200}


# --- cancelling and trying again ------------------------------------------------------------------


async def test_cancelling_closes_the_run_and_leaves_others_a_round_of_their_own(
    shop: Shop,
) -> None:
    await shop.ledger.start("first", USERS, 2, Plan(seed=1), NO_LIMIT)
    shop.clock.forward(1)
    await shop.ledger.start("second", ["ada"], 1, Plan(seed=2), NO_LIMIT)
    await shop.ledger.cancel("first")
    await shop.ledger.cancel("first")
    books = await shop.expect_in_order()
    assert books.states("ada") == [
        (1, "first", RoundState.CANCELLED),
        (2, "second", RoundState.WAITING),
    ]
    assert books.states("bob") == [(1, "first", RoundState.CANCELLED)]
    assert (await claim_one(shop)).plan.seed == 2
    with pytest.raises(NotFound):
        await shop.ledger.cancel("nothing")


async def test_what_is_done_is_not_cancelled(shop: Shop) -> None:
    await shop.ledger.start("run", ["ada"], 1, Plan(), NO_LIMIT)
    await shop.finish(await claim_one(shop))
    await shop.ledger.cancel("run")
    assert (await shop.expect_in_order()).runs["run"].state == RunState.DONE


async def test_a_sweep_closes_what_a_broken_off_cancellation_left_open(shop: Shop) -> None:
    await shop.ledger.start("run", USERS, 1, Plan(), NO_LIMIT)

    async def half(session: AsyncSession) -> None:
        run = await session.get_one(Run, "run")
        run.state, run.finished_at = RunState.CANCELLED, shop.clock()

    await shop.database.write(half)
    assert await shop.ledger.claim(10) == [], "nobody works for a run that is over"
    await shop.ledger.sweep()
    await shop.expect_in_order()


async def test_what_failed_can_be_tried_again(shop: Shop) -> None:
    await shop.ledger.start("run", ["ada", "bob"], 2, Plan(), NO_LIMIT)
    for one in await shop.ledger.claim(2):
        await shop.finish(one)
    for one in await shop.ledger.claim(2):
        if one.user_id == "ada":
            await shop.ledger.fail(one, "broken", final=True)
        else:
            await shop.finish(one)
    assert (await shop.expect_in_order()).runs["run"].state == RunState.DONE
    await shop.ledger.retry("run")
    books = await shop.expect_in_order()
    assert books.runs["run"].state == RunState.RUNNING
    assert (books.part("run", "ada").done, books.part("run", "ada").reason) == (1, None)
    again = await claim_one(shop)
    assert (again.user_id, again.number, again.attempt) == ("ada", 3, 1)
    await shop.finish(again)
    assert (await shop.expect_in_order()).runs["run"].state == RunState.DONE
    await shop.ledger.retry("run")
    assert (await shop.expect_in_order()).runs["run"].state == RunState.DONE


async def test_a_run_that_is_over_is_not_tried_again(shop: Shop) -> None:
    await shop.ledger.start("run", ["ada", "bob"], 1, Plan(), NO_LIMIT)
    await shop.ledger.fail(await claim_one(shop), "broken", final=True)
    await shop.ledger.cancel("run")
    with pytest.raises(Conflict, match="start another one"):
        await shop.ledger.retry("run")
    with pytest.raises(NotFound):
        await shop.ledger.retry("nothing")
    await shop.expect_in_order()


# --- what is told ---------------------------------------------------------------------------------


def outcome(effect_d: float | None, *paths: dict[str, Any]) -> dict[str, Any]:
    """As `services.optimizer.decision` writes it."""
    active = None if effect_d is None else {"path": 0, "effect_d": effect_d, "log_score": -1.0}
    return {
        "zero_shot": {"effect_d": 0.25, "log_score": -3.0},
        "active": active,
        "paths": [
            {"path": number, "collapsed": False, "perturbed": None, **path}
            for number, path in enumerate(paths)
        ],
        "memory": 0,
    }


def wrote(effect_d: float, similarity: float | None, **more: Any) -> dict[str, Any]:
    return {
        "written": True, "effect_d": effect_d, "log_score": -2.0, "similarity": similarity,
        "accepted": False, **more,
    }  # fmt: skip


NOTHING = {"written": False, "similarity": None, "accepted": False}


async def test_progress_tells_counts_cost_and_how_good_each_round_was(shop: Shop) -> None:
    await shop.ledger.start("run", USERS, 2, Plan(paths=2), Budget(calls=50))
    first, second, third = await shop.ledger.claim(3)
    await shop.ledger.reserve(first, Cost(3, 90))
    await shop.settle(first, Usage(prompt=60, completion=10, cached=20), calls=3)
    await shop.ledger.reserve(second, Cost(1, 5))
    shop.clock.forward(2)
    await shop.finish(first, outcome(0.75, wrote(0.75, None, accepted=True), NOTHING))
    await shop.settle(second, Usage(prompt=4, completion=1, cached=None), calls=1)
    await shop.finish(
        second, outcome(None, wrote(0.25, 0.9, collapsed=True, perturbed=True), NOTHING)
    )
    await shop.ledger.fail(third, "broken", final=True)

    told = await shop.ledger.progress("run")
    assert told.run.state == RunState.RUNNING
    assert told.run.users == {PartState.OPEN: 2, PartState.FAILED: 1}
    assert (told.run.budget, told.run.spent) == (Budget(calls=50), Cost(4, 75))
    assert (told.wanted, told.done) == (6, 2)
    assert told.rounds == {RoundState.DONE: 2, RoundState.FAILED: 1, RoundState.WAITING: 2}
    assert told.tokens == Tokens(
        calls=4, lost_calls=0, prompt=64, cached=20, completion=11, seconds=6.0
    )
    assert told.reasons == {"broken": 1}
    (one,) = told.per_round
    assert (one.ordinal, one.users) == (1, 2)
    assert (one.effect_d, one.zero_shot_effect_d) == (0.5, 0.25)
    assert (one.log_score, one.zero_shot_log_score) == (-2.0, -3.0)
    assert one.paths == [
        PathProgress(0, 0.5, -2.0, 0.9, written=2, accepted=1, collapsed=1, perturbed=1),
        PathProgress(1, None, None, None, written=0, accepted=0, collapsed=0, perturbed=0),
    ]


async def test_rounds_made_for_another_run_are_told_of_every_run_they_counted_for(
    shop: Shop,
) -> None:
    """And as the first and second of that run, whatever numbers they have."""
    await shop.ledger.start("early", ["ada"], 3, Plan(), NO_LIMIT)
    await shop.finish(await claim_one(shop), outcome(0.1))
    shop.clock.forward(1)
    await shop.ledger.start("late", ["ada"], 2, Plan(), NO_LIMIT)
    for effect_d in (0.2, 0.3):
        await shop.finish(await claim_one(shop), outcome(effect_d))
    effects = {
        run_id: [
            (one.ordinal, one.effect_d) for one in (await shop.ledger.progress(run_id)).per_round
        ]
        for run_id in ("early", "late")
    }
    assert effects == {"early": [(1, 0.1), (2, 0.2), (3, 0.3)], "late": [(1, 0.2), (2, 0.3)]}


async def test_a_new_run_has_no_figures_yet(shop: Shop) -> None:
    await shop.ledger.start("run", ["ada"], 1, Plan(paths=64), NO_LIMIT)
    told = await shop.ledger.progress("run")
    assert (told.per_round, told.done, told.tokens.calls) == ([], 0, 0)
    with pytest.raises(NotFound):
        await shop.ledger.progress("nothing")


async def test_as_many_paths_as_a_run_may_have_are_told_of(shop: Shop) -> None:
    await shop.ledger.start("run", ["ada"], 1, Plan(paths=64), NO_LIMIT)
    paths = [wrote(0.5, 0.5, accepted=number % 2 == 0) for number in range(64)]
    await shop.finish(await claim_one(shop), outcome(0.5, *paths))
    (one,) = (await shop.ledger.progress("run")).per_round
    assert [path.accepted for path in one.paths] == [1, 0] * 32


async def test_runs_are_listed_from_the_newest_page_by_page(shop: Shop) -> None:
    for number in range(5):
        await shop.ledger.start(f"run-{number}", ["ada"], 1, Plan(), NO_LIMIT)
        if number != 2:  # two begin in the same moment
            shop.clock.forward(1)
    seen: list[str] = []
    after = None
    while page := await shop.ledger.runs(after, 2):
        seen += [one.run_id for one in page]
        after = (page[-1].made_at, page[-1].run_id)
    assert seen == ["run-4", "run-3", "run-2", "run-1", "run-0"]
