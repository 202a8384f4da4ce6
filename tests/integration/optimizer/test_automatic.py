"""Rounds that start by themselves: for whom, for whom not, and for how many tokens a day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.bootstrap import Services
from services.catalog.inputs import NewEvent
from services.observability.metrics import OutcomeLabels
from services.optimizer.models import Round, RoundState, Run, RunState
from services.optimizer.plan import Plan
from services.recommendations.models import StoredReply
from tests.conftest import ServicesFactory
from tests.integration.optimizer.written import Learned

# After what is written by hand, and before now.
LEARNED_AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def services(opened_services: ServicesFactory) -> AsyncIterator[Services]:
    async with opened_services(learning_new_positives=3) as services:
        yield services


async def learned(services: Services, *users: str, **fields: Any) -> None:
    """Users with a round that was done; judged as lists are made, unless `fields` say else."""
    for user in users:
        written = Learned(services.database, user)
        await written.variants("0.1", served=("0.1",), **{"incumbent": False, **fields})

    async def work(session: AsyncSession) -> None:
        if await session.get(Run, "online-before") is None:
            session.add(
                Run(
                    run_id="online-before", state=RunState.DONE, settings=Plan().as_row(),
                    content="", entered=True, made_at=LEARNED_AT,
                )
            )  # fmt: skip
            await session.flush()
        for user in users:
            session.add(
                Round(
                    round_id=f"round-{user}", user_id=user, number=1, run_id="online-before",
                    state=RoundState.DONE, not_before=LEARNED_AT, made_at=LEARNED_AT,
                    finished_at=LEARNED_AT, prompt_tokens=900, completion_tokens=100,
                )
            )  # fmt: skip

    await services.database.write(work)


async def bought(services: Services, user: str, count: int, **fields: Any) -> None:
    await services.catalog.record(
        [
            NewEvent(user_id=user, item_id=f"thing-{n}", type="purchase", **fields)
            for n in range(count)
        ]
    )


async def own_runs(services: Services) -> dict[str, Any]:
    return {
        run.run_id: run
        for run in await services.ledger.runs(None, 100)
        if run.run_id.startswith(("online-2", "nightly-2"))
    }


async def users_of(services: Services, run_id: str) -> set[str]:
    async with services.database.reading() as session:
        return set(await session.scalars(select(Round.user_id).where(Round.run_id == run_id)))


def counted(services: Services, occasion: str) -> float:
    metric = services.metrics.automatic_users._metric.labels(*OutcomeLabels(occasion))
    return float(metric._value.get())


async def test_enough_new_positives_are_an_occasion_once(services: Services) -> None:
    await learned(services, "few", "enough")
    await bought(services, "few", 2)
    await bought(services, "enough", 3)
    await bought(services, "never", 9)  # has not learned yet: the night's business
    assert await services.automatic.consider() == 1
    (run_id,) = await own_runs(services)
    assert run_id.startswith(f"online-{datetime.now(UTC):%Y%m%d}")
    assert await users_of(services, run_id) == {"enough"}
    assert counted(services, "outgrown") == 1
    assert await services.automatic.consider() == 0  # it has a round to come
    await bought(services, "few", 1)
    await services.redis.flushall()  # how far it had looked is lost, and nothing else
    assert await services.automatic.consider() == 1


async def test_what_was_judged_by_another_model_is_judged_again_when_events_come(
    services: Services,
) -> None:
    await learned(services, "quiet", "active", incumbent=True)
    await bought(services, "active", 1)
    assert await services.automatic.consider() == 1
    (run_id,) = await own_runs(services)
    assert await users_of(services, run_id) == {"active"}
    assert counted(services, "stale") == 1


async def test_a_fall_of_online_effect_d_is_an_occasion(opened_services: ServicesFactory) -> None:
    """Of lists served since the last round against those before."""
    async with opened_services(learning_new_positives=0) as services:
        await _fall(services)


async def _fall(services: Services) -> None:
    await learned(services, "fell", "rose")

    async def served(user: str, at: datetime, rank: int, number: int) -> None:
        name = f"{user}-{at:%d}-{number}"
        items = [{"item_id": f"{name}-{place}"} for place in range(10)]
        reply = StoredReply(
            recommendation_id=name, user_id=user, made_at=at, source="model", items=items,
            question=[],
        )  # fmt: skip

        async def work(session: AsyncSession) -> None:
            session.add(reply)

        await services.database.write(work)
        await services.catalog.record(
            [
                NewEvent(
                    user_id=user, item_id=f"{name}-{rank - 1}", type="purchase",
                    recommendation_id=name,
                )
            ]
        )  # fmt: skip

    for number in range(4):
        for user, before, since in (("fell", 1, 8), ("rose", 8, 1)):
            await served(user, LEARNED_AT - timedelta(days=1), before + number % 2, number)
            await served(user, LEARNED_AT + timedelta(days=1), since + number % 2, number)
    assert await services.automatic.consider() == 1
    (run_id,) = await own_runs(services)
    assert await users_of(services, run_id) == {"fell"}
    assert counted(services, "fell") == 1


async def test_the_night_begins_with_what_is_stale_and_goes_on_with_who_never_learned(
    opened_services: ServicesFactory,
) -> None:
    async with opened_services(learning_nightly_users=2) as services:
        await learned(services, "old", incumbent=True)
        await learned(services, "fine")
        for user in ("old", "fine", "new-1", "new-2"):
            await bought(services, user, 3)
        await bought(services, "too-new", 2)
        assert await services.automatic.nightly() == 2
        (run_id,) = await own_runs(services)
        assert run_id.startswith("nightly-")
        assert await users_of(services, run_id) == {"old", "new-1"}
        assert await services.automatic.nightly() == 2 - 1  # old and new-1 have theirs to come
        assert await services.automatic.nightly() == 0


@pytest.mark.parametrize(
    ("settings", "called"),
    [
        ({"learning_tokens_per_day": 0}, 0),
        # A round has cost 1,000 tokens here, and the next may cost half as much again.
        ({"learning_tokens_per_day": 3500}, 2),
        ({"learning_tokens_per_day": 100_000, "learning_new_positives": 0}, 0),
    ],
)
async def test_what_starts_by_itself_keeps_within_the_days_tokens(
    opened_services: ServicesFactory, settings: dict[str, Any], called: int
) -> None:
    async with opened_services(**settings) as services:
        users = ("a", "b", "c")
        await learned(services, *users)
        for user in users:
            await bought(services, user, 3)
        assert await services.automatic.consider() == called
        runs = await own_runs(services)
        assert [run.budget.tokens for run in runs.values()] == [1500 * called] * bool(called)
        if called:
            for user in users:
                await bought(services, user, 3, value=1.0)
            await services.redis.flushall()
            assert await services.automatic.consider() == 0  # the day's tokens are spoken for
            text = services.metrics.render().decode()
            assert "lrgd_automatic_rounds_refused_total 2.0" in text
