"""Events: each counts once, whoever sends it however often, and each takes its place in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from services.bootstrap import Services
from services.catalog.catalog import RowResult, RowStatus
from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.models import Event
from services.catalog.repository import CatalogRepository
from tests.conftest import ServicesFactory

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def event(event_id: str | None, user_id: str = "u", **changes: Any) -> NewEvent:
    return NewEvent(
        **{
            "event_id": event_id,
            "user_id": user_id,
            "item_id": "i",
            "type": "view",
            "occurred_at": NOON,
            **changes,
        }
    )


def statuses(results: Sequence[RowResult]) -> list[str]:
    return [result.status.value for result in results]


async def stored(services: Services, user_id: str = "u") -> Sequence[Event]:
    async with services.database.reading() as session:
        return await CatalogRepository(session).events_of(user_id, 1000)


async def test_the_result_of_every_event_stands_at_its_place(services: Services) -> None:
    await services.catalog.record([event("b")])
    results = await services.catalog.record([event("a"), event("b"), event("c")])
    assert statuses(results) == ["accepted", "duplicate", "accepted"]


async def test_of_two_events_with_one_id_in_a_batch_the_first_counts(services: Services) -> None:
    results = await services.catalog.record(
        [event("a", value=1.0), event("b"), event("a", value=2.0), event("a", user_id="other")]
    )
    assert statuses(results) == ["accepted", "accepted", "duplicate", "duplicate"]
    assert [(e.event_id, e.value) for e in await stored(services)] == [("b", None), ("a", 1.0)]
    assert await stored(services, "other") == []


async def test_no_events_are_no_trouble(services: Services) -> None:
    assert await services.catalog.record([]) == []


async def test_a_batch_sent_again_is_a_batch_of_duplicates(services: Services) -> None:
    batch = [event(f"e{n}") for n in range(20)]
    assert statuses(await services.catalog.record(batch)) == ["accepted"] * 20
    assert statuses(await services.catalog.record(batch)) == ["duplicate"] * 20
    assert len(await stored(services)) == 20


async def test_of_many_who_send_the_same_events_exactly_one_is_told_accepted(
    services: Services,
) -> None:
    """In different orders too, in which their locks cross."""
    batch = [event(f"e{n}", user_id=f"u{n % 3}", item_id=f"i{n % 2}") for n in range(6)]
    orders = [list(order) for order in permutations(batch)][::90]
    answers = await asyncio.gather(*(services.catalog.record(order) for order in orders))
    accepted = [
        sent.event_id
        for order, results in zip(orders, answers, strict=True)
        for sent, result in zip(order, results, strict=True)
        if result.status is RowStatus.ACCEPTED
    ]
    assert sorted(filter(None, accepted)) == [f"e{n}" for n in range(6)]
    assert [len(await stored(services, f"u{n}")) for n in range(3)] == [2, 2, 2]


async def test_batches_that_overlap_count_every_event_once(services: Services) -> None:
    batches = [[event(f"e{n}") for n in range(start, start + 30)] for start in range(0, 60, 10)]
    answers = await asyncio.gather(*(services.catalog.record(batch) for batch in batches))
    assert sum(statuses(results).count("accepted") for results in answers) == 80
    assert len(await stored(services)) == 80


async def test_events_of_a_deleted_user_racing_with_the_deletion_are_never_an_error(
    services: Services,
) -> None:
    async def delete() -> None:
        await services.database.write(lambda session: CatalogRepository(session).delete_user("u"))

    for turn in range(10):
        await asyncio.gather(
            services.catalog.record([event(f"a{turn}"), event(f"b{turn}")]),
            delete(),
            services.catalog.record([event(f"c{turn}")]),
            delete(),
        )


async def test_history_is_ordered_by_time_and_ties_by_arrival(services: Services) -> None:
    await services.catalog.record([event("tie-1"), event("tie-2")])
    await services.catalog.record([event("last", occurred_at=NOON + timedelta(seconds=1))])
    await services.catalog.record([event("tie-3")])
    newest_first = [e.event_id for e in await stored(services)]
    assert newest_first == ["last", "tie-3", "tie-2", "tie-1"]


async def test_a_late_event_takes_its_place_in_the_history(services: Services) -> None:
    for hour in (1, 2, 4):
        await services.catalog.record([event(f"h{hour}", occurred_at=NOON + timedelta(hours=hour))])
    late = NOON + timedelta(hours=3)
    await services.catalog.record([event("late", occurred_at=late)])
    history = await stored(services)
    assert [e.event_id for e in history] == ["h4", "late", "h2", "h1"]
    assert history[1].occurred_at == late
    assert history[1].received_at > late
    assert history[1].seq == max(e.seq for e in history), "what came late is known to be late"


async def test_times_far_from_now_keep_their_order(services: Services) -> None:
    moments = [datetime(year, 1, 1, tzinfo=UTC) for year in (1, 900, 1969, 1970, 2001)]
    await services.catalog.record([event(f"{m.year}", occurred_at=m) for m in reversed(moments)])
    assert [e.occurred_at for e in await stored(services)] == list(reversed(moments))


async def test_every_field_of_an_event_is_kept(services: Services) -> None:
    sent = event("E-1", "Ü/user", item_id="🛒", type="rating", value=4.5, recommendation_id="rec-1")
    await services.catalog.record([sent])
    (kept,) = await stored(services, "Ü/user")
    assert NewEvent.model_validate(
        {name: getattr(kept, name) for name in NewEvent.model_fields}
    ) == (sent)


async def test_ids_differ_by_case(services: Services) -> None:
    results = await services.catalog.record([event("a", "u"), event("A", "U")])
    assert statuses(results) == ["accepted", "accepted"]
    assert len(await stored(services, "u")) == len(await stored(services, "U")) == 1


async def test_users_and_items_nobody_knows_are_created(services: Services) -> None:
    await services.catalog.upsert_items([NewItem(item_id="known", title="Lamp")])
    await services.catalog.record([event("a", item_id="new"), event("b", item_id="known")])
    async with services.database.reading() as session:
        catalog = CatalogRepository(session)
        assert await catalog.user("u") is not None
        new, known = await catalog.item("new"), await catalog.item("known")
    assert new is not None
    assert (new.title, new.categories, new.attributes, new.hidden) == (None, [], {}, False)
    assert known is not None
    assert known.title == "Lamp"


@pytest.mark.parametrize(
    ("refusing", "codes"),
    [
        ({"unknown_users": "refuse"}, [None, "unknown_user", None, "unknown_user"]),
        ({"unknown_items": "refuse"}, [None, None, "unknown_item", "unknown_item"]),
    ],
)
async def test_users_or_items_nobody_knows_are_refused_where_the_settings_say_so(
    opened_services: ServicesFactory, refusing: dict[str, str], codes: list[str | None]
) -> None:
    async with opened_services(**refusing) as services:
        await services.catalog.upsert_users([NewUser(user_id="known")])
        await services.catalog.upsert_items([NewItem(item_id="known")])
        results = await services.catalog.record(
            [
                event("a", "known", item_id="known"),
                event("b", "new", item_id="known"),
                event("c", "known", item_id="new"),
                event("d", "new", item_id="new"),
            ]
        )
        assert [result.code for result in results] == codes
        assert all(result.detail for result in results if result.code)
        async with services.database.reading() as session:
            catalog = CatalogRepository(session)
            user, item = await catalog.user("new"), await catalog.item("new")
        assert (user is None) == ("unknown_users" in refusing)
        assert (item is None) == ("unknown_items" in refusing)


async def test_a_refused_event_can_be_sent_again_once_its_user_is_known(
    opened_services: ServicesFactory,
) -> None:
    async with opened_services(unknown_users="refuse") as services:
        assert statuses(await services.catalog.record([event("a")])) == ["refused"]
        await services.catalog.upsert_users([NewUser(user_id="u")])
        assert statuses(await services.catalog.record([event("a")])) == ["accepted"]
