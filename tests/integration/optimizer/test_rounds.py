"""Rounds with the embedded model, on both databases: real texts, real log-probs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import numpy as np
import pytest
from sqlalchemy import func, select

from lab.learning.step_sizes import Told, gained, read_told
from lab.shop.events import in_time_order, sample_users
from lab.shop.files import event_rows, item_rows
from lab.shop.taste import SHIPPED_USERS, Shop
from services.bootstrap import Services
from services.catalog.inputs import NewEvent, NewItem
from services.catalog.repository import CatalogRepository
from services.demonstrations.models import StoredDemonstration, StoredVariant
from services.demonstrations.snapshot import LeakedHeldOut, PastItem, Snapshot
from services.errors import ConfigurationError
from services.optimizer.material import Materials, TooFewPositives
from services.optimizer.models import Evaluation, Round, RoundState
from services.optimizer.plan import Plan
from services.optimizer.rules import Budget, Expected, Quality
from services.recommendations.wanted import Wanted
from tests.conftest import ServicesFactory

USERS = 8
PLAN = Plan(paths=2, draws=2, seed=5)


@pytest.fixture
async def services(opened_services: ServicesFactory) -> AsyncIterator[Services]:
    async with opened_services() as services:
        shop = Shop()
        users = list(sample_users(shop, SHIPPED_USERS[:USERS]))
        await services.catalog.upsert_items(
            [NewItem.model_validate(row) for row in item_rows(shop)]
        )
        await services.catalog.record(
            [NewEvent.model_validate(row) for row in event_rows(shop, in_time_order(users))]
        )
        yield services


async def learned(
    services: Services, run: str, users: list[str], rounds: int = 1, plan: Plan = PLAN
) -> None:
    await services.ledger.start(run, users, rounds, plan, Budget())
    while await services.learner.advance(limit=4, seconds=60):
        pass


async def test_a_round_writes_judges_decides_and_serves(services: Services) -> None:
    user = "user-0001"
    before = await services.recommender.recommend(Wanted(user_id=user, deadline_seconds=20))
    assert before.variant is None
    await learned(services, "run", [user, "user-0002", "user-0003"], rounds=2)
    progress = await services.ledger.progress("run")
    assert progress.run.state == "done"
    async with services.database.reading() as session:
        rounds = list(await session.scalars(select(Round)))
        texts = list(await session.scalars(select(StoredDemonstration.text)))
        evaluations = await session.scalar(select(func.count()).select_from(Evaluation))
        served = list(await session.scalars(select(StoredVariant).where(StoredVariant.incumbent)))
    assert [one.state for one in rounds] == [RoundState.DONE] * 6
    assert all(text.startswith("Preference: ") for text in texts)
    assert texts
    assert evaluations
    assert all(one.calls > 0 and one.completion_tokens > 0 for one in rounds)
    assert served, "three users, two paths, two rounds: nothing was accepted"
    for variant in served:
        after = await services.recommender.recommend(
            Wanted(user_id=variant.user_id, deadline_seconds=20)
        )
        if after.variant is not None:  # an incumbent of a path, though not behind zero-shot
            assert after.variant.effect_d > 0


@pytest.mark.parametrize("size", [0.5, 1.0])
async def test_what_is_judged_at_one_step_size_tells_of_all(
    services: Services, size: float
) -> None:
    user = "user-0002"
    await learned(services, "run", [user], plan=PLAN.model_copy(update={"step_size": size}))
    async with services.database.reading() as session:
        rows = await session.execute(
            select(StoredVariant.path, Evaluation)
            .join(Evaluation, Evaluation.variant_id == StoredVariant.variant_id)
            .where(StoredVariant.user_id == user)
        )
        found = {(path, one.event_id, one.draw): one for path, one in rows}
    bare = {key[1:]: one for key, one in found.items() if key[0] < 0}
    texts = {key: one for key, one in found.items() if key[0] >= 0}
    assert texts, "nothing was judged"
    told = await read_told(services.database)
    assert len(told) == len(texts)
    gains = sorted(one.gains(size) for one in told)
    kept = sorted(
        (
            one.log_score - bare[event, draw].log_score,
            one.effect_d - bare[event, draw].effect_d,
        )
        for (_, event, draw), one in texts.items()
    )
    for mine, theirs in zip(gains, kept, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)  # raw log-probs are kept rounded
    assert all(one.gains(1e-9) == pytest.approx((0, 0), abs=1e-6) for one in told)
    by_size = gained(told, (0.25, size))
    assert list(by_size) == [0.25, size]
    assert by_size[size].log_score.mean == pytest.approx(
        sum(one[0] for one in kept) / len(kept), abs=1e-4
    )


async def test_step_sizes_are_told_of_what_was_judged_as_the_newest_round_judged(
    services: Services,
) -> None:
    user = "user-0002"
    await learned(services, "part", [user], plan=PLAN.model_copy(update={"step_size": 0.5}))
    of_part = {one.variant_id for one in await read_told(services.database)}
    await learned(services, "whole", [user])
    told = await read_told(services.database)
    async with services.database.reading() as session:
        newest = select(Evaluation).order_by(Evaluation.made_at.desc()).limit(1)
        fingerprint = (await session.scalars(newest)).one().fingerprint
        texts = await session.scalar(
            select(func.count())
            .select_from(Evaluation)
            .join(StoredVariant)
            .where(
                StoredVariant.current_id.is_not(None),
                StoredVariant.perturbation_id.is_(None),
                Evaluation.fingerprint == fingerprint,
            )
        )
    assert of_part
    assert len(told) == texts
    await learned(services, "calibrated", [user], plan=PLAN.model_copy(update={"calibrated": True}))
    with pytest.raises(ConfigurationError, match="were calibrated"):
        await read_told(services.database)


def test_a_text_counts_once_on_however_many_draws_it_was_judged() -> None:
    def judged(name: str, *whole: float, draws: int) -> list[Told]:
        bare = np.log([0.5, 0.3, 0.2])
        return [Told("u", name, ("a", "b", "c"), "a", bare, np.log(whole))] * draws

    ahead = judged("ahead", 0.7, 0.2, 0.1, draws=2)
    dropped = judged("dropped", 0.3, 0.4, 0.3, draws=1)
    mean = (ahead[0].gains(1.0)[0] + dropped[0].gains(1.0)[0]) / 2
    assert gained([*ahead, *dropped], [1.0])[1.0].log_score.mean == pytest.approx(mean)


async def test_without_rounds_no_step_size_is_told(services: Services) -> None:
    with pytest.raises(ConfigurationError, match="run some rounds"):
        await read_told(services.database)


async def test_turned_down_texts_are_heard_again_when_something_is_expected(
    services: Services,
) -> None:
    users = [f"user-{number:04d}" for number in SHIPPED_USERS[:USERS]]
    plan = PLAN.model_copy(update={"heard_again": True, "screened": False, "paired": False})
    await learned(services, "first", users, plan=plan)
    expected = Expected(*[Quality(0.9, 9.0)] * 3)
    more = plan.model_copy(update={"expected": expected, "prior_events": 100.0})
    await learned(services, "second", users, plan=more)
    async with services.database.reading() as session:
        wanted = select(StoredVariant).where(StoredVariant.path >= 0)
        variants = list(await session.scalars(wanted))
    by_path = {(one.user_id, one.path) for one in variants}
    incumbents = [(one.user_id, one.path) for one in variants if one.incumbent]
    assert sorted(incumbents) == sorted(by_path), "one of each path that has written"


async def test_nothing_held_out_reaches_what_writes(services: Services) -> None:
    materials = Materials(services.database, services.catalog.positives, services.retrieval)
    for number in SHIPPED_USERS[:USERS]:
        material = await materials.of(f"user-{number:04d}", PLAN)
        held_out = {one.item_id for one in material.held_out}
        known = {one.item_id for one in material.snapshot.history}
        shown = known | {one.item_id for one in material.snapshot.neighbors}
        assert not shown & held_out
        for question in material.questions:
            assert question.truth in held_out
            assert [one.item_id for one in question.request.candidates].count(question.truth) == 1
            assert len(question.request.candidates) == PLAN.candidates
            assert not {one.item_id for one in question.request.candidates} & known


def test_a_leak_is_an_error_and_not_a_figure() -> None:
    snapshot = Snapshot((PastItem("a", "A"), PastItem("b", "B")), (PastItem("c", "C"),))
    for leaked in ("a", "c"):
        with pytest.raises(LeakedHeldOut, match=leaked):
            snapshot.require_free_of({leaked})


async def test_a_late_event_is_history_and_judges_nothing(services: Services) -> None:
    materials = Materials(services.database, services.catalog.positives, services.retrieval)
    user = "user-0001"
    before = await materials.of(user, PLAN)
    between = before.held_out[0].occurred_at - timedelta(seconds=1)
    await services.catalog.record(
        [NewEvent(user_id=user, item_id="late-one", type="purchase", occurred_at=between)]
    )
    after = await materials.of(user, PLAN)
    assert after.held_out[: len(before.held_out)] == before.held_out[: len(after.held_out)]
    assert "late-one" not in {one.item_id for one in after.held_out}


async def test_who_has_taken_too_little_learns_nothing(services: Services) -> None:
    await services.catalog.record(
        [
            NewEvent(user_id="new", item_id="thing", type="purchase"),
            NewEvent(user_id="new", item_id="other", type="purchase"),
        ]
    )
    with pytest.raises(TooFewPositives):
        await Materials(services.database, services.catalog.positives, services.retrieval).of(
            "new", PLAN
        )
    await learned(services, "run", ["new"])
    progress = await services.ledger.progress("run")
    assert dict(progress.run.users) == {"skipped": 1}


async def test_the_same_seed_gives_the_same_texts_whatever_is_done_at_once(
    services: Services,
) -> None:
    users = ["user-0001", "user-0002", "user-0003"]
    await services.ledger.start("one", users, 1, PLAN, Budget())
    while await services.learner.advance(limit=1, seconds=60):
        pass
    one_by_one = await _texts(services)
    for user in users:  # and once more from the beginning, all together
        events = await _events(services, user)
        await services.catalog.delete_user(user)
        await services.catalog.record(events)
    await services.ledger.start("all", users, 1, PLAN, Budget())
    while await services.learner.advance(limit=3, seconds=60):
        pass
    assert await _texts(services) == one_by_one


async def test_a_budget_ends_a_run_and_is_not_exceeded(services: Services) -> None:
    budget = Budget(calls=30)
    await services.ledger.start("small", ["user-0001", "user-0002"], 3, PLAN, budget)
    while await services.learner.advance(limit=2, seconds=60):
        pass
    progress = await services.ledger.progress("small")
    assert progress.run.state == "out_of_budget"
    assert progress.run.spent.calls <= 30


async def _texts(services: Services) -> dict[tuple[str, int], str]:
    async with services.database.reading() as session:
        rows = await session.execute(
            select(StoredVariant.user_id, StoredVariant.path, StoredDemonstration.text).join(
                StoredDemonstration,
                StoredDemonstration.demonstration_id == StoredVariant.current_id,
            )
        )
    return {(user, path): text for user, path, text in rows}


async def _events(services: Services, user: str) -> list[NewEvent]:
    async with services.database.reading() as session:
        rows = await CatalogRepository(session).events_of(user, 1000)
    return [
        NewEvent(
            event_id=row.event_id, user_id=row.user_id, item_id=row.item_id, type=row.type,
            value=row.value, occurred_at=row.occurred_at,
        )
        for row in sorted(rows, key=lambda row: row.seq)
    ]  # fmt: skip
