"""Small shops: what users took and when, and what an index over that must hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select

from services.bootstrap import Services
from services.catalog.inputs import NewEvent
from services.catalog.models import Event
from services.retrieval.covisitation import Pair, distinct_newest, pairs_of
from services.retrieval.index_repository import IndexRepository
from services.retrieval.models import CountedHistory, Covisit

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = 60.0


def at(day: float) -> datetime:
    return BEGIN + timedelta(days=day)


async def take(
    services: Services, user: str, *items: str, day: float = 0, type_: str = "purchase"
) -> None:
    """One item an hour, so that their order is the one given."""
    await services.catalog.record(
        [
            NewEvent(
                event_id=f"{user}/{item}/{day}",
                user_id=user,
                item_id=item,
                type=type_,
                occurred_at=at(day + hour / 24),
            )
            for hour, item in enumerate(items)
        ]
    )


async def refresh(services: Services) -> None:
    assert await services.covisit_index.refresh(seconds=SECONDS)
    await services.popularity.refresh()


async def positives(services: Services) -> Sequence[Event]:
    """In the order in which they happened."""
    async with services.database.reading() as session:
        events = await session.scalars(
            select(Event)
            .where(services.catalog.positives.clause())
            .order_by(Event.occurred_at, Event.seq)
        )
        return events.all()


def histories_of(events: Sequence[Event]) -> dict[str, list[str]]:
    taken: dict[str, list[str]] = {}
    for event in events:
        taken.setdefault(event.user_id, []).append(event.item_id)
    return {user: distinct_newest(items) for user, items in taken.items()}


async def expect_exact(services: Services) -> None:
    """The index holds what its events say, no less and no more."""
    histories = histories_of(await positives(services))
    weights: Counter[Pair] = Counter()
    for history in histories.values():
        weights.update(dict(pairs_of(history)))
    async with services.database.reading() as session:
        (index,) = await IndexRepository(session).indexes()
        stored = await session.execute(
            select(Covisit.index_id, Covisit.item_id, Covisit.other_id, Covisit.weight)
        )
        assert {(row[0], row[1], row[2]): row[3] for row in stored} == {
            (index.index_id, *pair): weight for pair, weight in weights.items()
        }
        counted = (await session.scalars(select(CountedHistory))).all()
    assert {each.user_id: each.items for each in counted} == histories
    assert not any(each.stale for each in counted)
    assert index.complete
    assert index.takings == sum(map(len, histories.values()))
    assert index.pairs == len(weights)
