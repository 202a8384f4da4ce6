"""What one can do with the catalog, each call one transaction; jobs follow the commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.positives import PositiveEvents
from services.catalog.repository import CatalogRepository
from services.settings import UnknownIds
from services.storage.database import Database

# More users than these are not told of one by one.
MOST_NAMED = 200


class RowStatus(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row of a batch."""

    status: RowStatus
    code: str | None = None
    detail: str | None = None


ACCEPTED = RowResult(RowStatus.ACCEPTED)
DUPLICATE = RowResult(RowStatus.DUPLICATE)


def refused(code: str, detail: str) -> RowResult:
    return RowResult(RowStatus.REFUSED, code, detail)


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """A new positive event that names the list it answers to."""

    recommendation_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of each event, and of each user who got new positives the `seq` of the newest."""

    results: list[RowResult]
    newest: Mapping[str, int]
    answers: Sequence[ListAnswer] = ()


class AfterCommit(Protocol):
    """Told of commits, so that what is derived from the catalog can follow."""

    async def positives_came(self, newest: Mapping[str, int] | None) -> None:
        """The `seq` of the newest by user; None where there are too many to name."""

    async def lists_answered(self, answers: Sequence[ListAnswer]) -> None: ...

    async def items_changed(self) -> None: ...

    async def user_went(self, user_id: str) -> None: ...

    async def events_went(self) -> None: ...


class NothingFollows:
    """For a catalog used where nobody keeps anything of it."""

    async def positives_came(self, newest: Mapping[str, int] | None) -> None: ...

    async def lists_answered(self, answers: Sequence[ListAnswer]) -> None: ...

    async def items_changed(self) -> None: ...

    async def user_went(self, user_id: str) -> None: ...

    async def events_went(self) -> None: ...


class Derived(Protocol):
    """What is counted from events elsewhere and must not outlive them. It is told inside the
    transaction that deletes, before the rows go."""

    async def before_user_goes(self, session: AsyncSession, user_id: str) -> None: ...

    async def before_item_goes(self, session: AsyncSession, item_id: str) -> None: ...

    async def before_event_goes(self, session: AsyncSession, event_id: str) -> None: ...


class Catalog:
    def __init__(
        self,
        database: Database,
        *,
        positives: PositiveEvents,
        unknown_users: UnknownIds,
        unknown_items: UnknownIds,
        after: AfterCommit,
        derived: Sequence[Derived] = (),
    ) -> None:
        self.database = database
        self.positives = positives
        self._unknown_users = unknown_users
        self._unknown_items = unknown_items
        self._after = after
        self._derived = derived

    async def record(self, events: Sequence[NewEvent]) -> list[RowResult]:
        """Store events; the result of each stands at its place. The same event counts once."""
        recorded = await self.database.write(
            lambda session: self.record_in(CatalogRepository(session), events)
        )
        if recorded.newest:
            few = len(recorded.newest) <= MOST_NAMED
            await self._after.positives_came(recorded.newest if few else None)
        if recorded.answers:
            await self._after.lists_answered(recorded.answers)
        return recorded.results

    async def announce_positives(self) -> None:
        """After the commits of an import: positives of many users have come."""
        await self._after.positives_came(None)

    async def record_in(self, catalog: CatalogRepository, events: Sequence[NewEvent]) -> Recorded:
        """`record` inside a transaction of the caller, who then owns what follows the commit."""
        if not events:
            return Recorded([], {})
        now = datetime.now(UTC)
        refusals = await self._settle_unknown_ids(catalog, events, now)
        welcome = [event for at, event in enumerate(events) if at not in refusals]
        landed = await catalog.insert_events(_first_of_each_id(welcome), now)
        results = []
        newest: dict[str, int] = {}
        answers = []
        for at, event in enumerate(events):
            if at in refusals:
                results.append(refusals[at])
                continue
            # A second one in this batch is a duplicate.
            seq = landed.pop(str(event.event_id), None)
            results.append(DUPLICATE if seq is None else ACCEPTED)
            if seq is not None and self.positives.include(event.type, event.value):
                newest[event.user_id] = max(seq, newest.get(event.user_id, 0))
                if event.recommendation_id is not None:
                    answers.append(ListAnswer(event.recommendation_id, seq))
        return Recorded(results, newest, answers)

    async def _settle_unknown_ids(
        self, catalog: CatalogRepository, events: Sequence[NewEvent], now: datetime
    ) -> dict[int, RowResult]:
        """Create the users and items that the events name, or refuse the events, as configured."""
        users = {event.user_id for event in events}
        items = {event.item_id for event in events}
        refusals: dict[int, RowResult] = {}
        if self._unknown_users is UnknownIds.REFUSE:
            known = await catalog.known_users(users)
            for at, event in enumerate(events):
                if event.user_id not in known:
                    refusals[at] = refused(
                        "unknown_user", "the user is not in the catalog: send it to POST /users"
                    )
        if self._unknown_items is UnknownIds.REFUSE:
            known = await catalog.known_items(items)
            for at, event in enumerate(events):
                if event.item_id not in known:
                    refusals[at] = refused(
                        "unknown_item", "the item is not in the catalog: send it to POST /items"
                    )
        welcome = [event for at, event in enumerate(events) if at not in refusals]
        await catalog.ensure_users({event.user_id for event in welcome}, now)
        await catalog.ensure_items({event.item_id for event in welcome}, now)
        return refusals

    async def delete_item(self, item_id: str) -> bool:
        """The item and the events that name it."""

        async def delete(session: AsyncSession) -> bool:
            for derived in self._derived:
                await derived.before_item_goes(session, item_id)
            return await CatalogRepository(session).delete_item(item_id)

        deleted = await self._deleted_events(delete)
        if deleted:
            await self.announce_items()
        return deleted

    async def delete_user(self, user_id: str) -> bool:
        """Every trace of the user."""

        async def delete(session: AsyncSession) -> bool:
            for derived in self._derived:
                await derived.before_user_goes(session, user_id)
            return await CatalogRepository(session).delete_user(user_id)

        deleted = await self.database.write(delete)
        # Whoever never was in the catalog may have been recommended something all the same.
        await self._after.user_went(user_id)
        return deleted

    async def delete_event(self, event_id: str) -> bool:
        async def delete(session: AsyncSession) -> bool:
            for derived in self._derived:
                await derived.before_event_goes(session, event_id)
            return await CatalogRepository(session).delete_event(event_id)

        return await self._deleted_events(delete)

    async def _deleted_events(self, delete: Callable[[AsyncSession], Awaitable[bool]]) -> bool:
        deleted = await self.database.write(delete)
        if deleted:
            await self._after.events_went()
        return deleted

    async def upsert_items(self, items: Sequence[NewItem]) -> list[RowResult]:
        results = await self.database.write(
            lambda session: self.upsert_items_in(CatalogRepository(session), items)
        )
        await self.announce_items()
        return results

    async def announce_items(self) -> None:
        """After a commit of what `upsert_items_in` has stored."""
        await self._after.items_changed()

    async def upsert_items_in(
        self, catalog: CatalogRepository, items: Sequence[NewItem]
    ) -> list[RowResult]:
        """Whole rows; of several with one id in a batch the last one stays."""
        latest = {item.item_id: item for item in items}
        await catalog.upsert_items(latest.values(), datetime.now(UTC))
        return [ACCEPTED] * len(items)

    async def upsert_users(self, users: Sequence[NewUser]) -> list[RowResult]:
        return await self.database.write(
            lambda session: self.upsert_users_in(CatalogRepository(session), users)
        )

    async def upsert_users_in(
        self, catalog: CatalogRepository, users: Sequence[NewUser]
    ) -> list[RowResult]:
        latest = {user.user_id: user for user in users}
        await catalog.upsert_users(latest.values(), datetime.now(UTC))
        return [ACCEPTED] * len(users)


def _first_of_each_id(events: Sequence[NewEvent]) -> list[NewEvent]:
    by_id: dict[str | None, NewEvent] = {}
    for event in events:
        by_id.setdefault(event.event_id, event)
    return list(by_id.values())
