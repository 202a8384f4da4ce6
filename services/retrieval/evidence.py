"""What retrieval goes by: the index and the list of the popular as they stand now, or the same
things counted from the events before a moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.positives import PositiveEvents
from services.retrieval.covisitation import (
    Moment,
    Neighborhood,
    covisit_scores,
    neighbors_in,
    popularity,
    strongest,
)
from services.retrieval.index_repository import IndexRepository, users_counted
from services.retrieval.kept_neighborhoods import KeptNeighborhoods
from services.retrieval.known_items import KnownItems
from services.retrieval.popularity import LENGTH, Now, Popularity
from services.retrieval.repository import (
    Liked,
    RetrievalRepository,
    ShownItem,
    UsersOfItem,
    before,
    none_of,
    users_who_took,
)

TAKINGS_FRESH_SECONDS = 30.0

# Of a seed more popular than this, the past is counted over its newest takers and scaled up.
MOST_TAKERS = 2_000
DAYS_KEPT = 64
DAY_FRESH_SECONDS = 300.0


@dataclass(frozen=True)
class Crowd:
    """Users by item for the most popular items, these first, and how many items all users took
    together."""

    popular: Mapping[str, int]
    takings: int

    @cached_property
    def shares(self) -> Mapping[str, float]:
        """What popularity says of the popular."""
        return {item_id: popularity(users, self.takings) for item_id, users in self.popular.items()}

    @cached_property
    def unknown(self) -> float:
        """The same of an item that nobody took."""
        return popularity(0, self.takings)

    @cached_property
    def ranked(self) -> Sequence[tuple[float, str]]:
        """The popular as they are ordered where co-visits say nothing: what orders them, and the
        item."""
        return [(-share, item_id) for item_id, share in self.shares.items()]


NOBODY = Crowd({}, 0)


class Evidence(Protocol):
    """Bound to one session, hence to one state of the database."""

    async def taken_by(self, user_id: str) -> list[str]: ...

    async def scores(self, seeds: Sequence[str]) -> Mapping[str, float]:
        """What co-visits say of the neighbors of these items, the newest first."""
        ...

    async def crowd(self) -> Crowd: ...

    def users(self) -> UsersOfItem:
        """How many users took an item, for a query over items."""
        ...

    async def shown(
        self,
        repository: RetrievalRepository,
        item_ids: Collection[str],
        categories: Collection[str],
    ) -> Mapping[str, ShownItem]:
        """Those of the items that may be shown."""


class Present:
    """The serving index through what this process keeps of it."""

    def __init__(
        self, popularity: Popularity, positives: PositiveEvents, items: KnownItems
    ) -> None:
        self._popularity = popularity
        self._positives = positives
        self.items = items
        self.neighborhoods = KeptNeighborhoods()
        self._takings = (0.0, 0)
        self._crowd = NOBODY

    async def now(self) -> Now:
        """Before a session is opened: it may take one of its own."""
        return await self._popularity.now()

    def at(self, session: AsyncSession, now: Now) -> Evidence:
        return _Present(self, session, now)

    async def taken_by(self, session: AsyncSession, user_id: str) -> list[str]:
        return await RetrievalRepository(session).taken_by(user_id, self._positives.clause())

    async def crowd(self, session: AsyncSession, now: Now) -> Crowd:
        """One and the same as long as nothing changes: what follows from it is kept with it."""
        takings = await self._counted(session)
        if self._crowd.popular is not now.users or self._crowd.takings != takings:
            self._crowd = Crowd(now.users, takings)
        return self._crowd

    async def _counted(self, session: AsyncSession) -> int:
        until, takings = self._takings
        if time.monotonic() >= until:
            serving = await IndexRepository(session).serving()
            takings = 0 if serving is None else serving.takings
            self._takings = (time.monotonic() + TAKINGS_FRESH_SECONDS, takings)
        return takings


class _Present:
    def __init__(self, present: Present, session: AsyncSession, now: Now) -> None:
        self._present = present
        self._session = session
        self._now = now

    async def taken_by(self, user_id: str) -> list[str]:
        return await self._present.taken_by(self._session, user_id)

    async def scores(self, seeds: Sequence[str]) -> Mapping[str, float]:
        return await self._present.neighborhoods.scores(self._session, seeds)

    async def crowd(self) -> Crowd:
        return await self._present.crowd(self._session, self._now)

    def users(self) -> UsersOfItem:
        return users_counted()

    async def shown(
        self,
        repository: RetrievalRepository,
        item_ids: Collection[str],
        categories: Collection[str],
    ) -> Mapping[str, ShownItem]:
        known, epoch = self._present.items, self._now.items_epoch
        if categories:
            return await repository.shown(item_ids, categories, self.users())
        found = await known.of(repository, item_ids, self.users(), epoch)
        return {item_id: item for item_id, item in found.items() if not item.hidden}


class PastCrowds:
    """The crowd at the beginning of a day: one count over all events serves every moment of that
    day, and knows nothing of what came after any of them."""

    def __init__(self, positives: PositiveEvents) -> None:
        self._positives = positives
        self._kept: OrderedDict[datetime, tuple[float, Crowd]] = OrderedDict()

    async def at(self, repository: RetrievalRepository, moment: Moment) -> tuple[Moment, Crowd]:
        day = moment.occurred_at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        until, crowd = self._kept.get(day, (0.0, NOBODY))
        if time.monotonic() >= until:
            liked = self._positives.clause() & before(Moment(day))
            crowd = Crowd(
                await repository.most_taken(liked, LENGTH), await repository.takings(liked)
            )
            self._kept[day] = (time.monotonic() + DAY_FRESH_SECONDS, crowd)
        self._kept.move_to_end(day)
        while len(self._kept) > DAYS_KEPT:
            self._kept.popitem(last=False)
        return Moment(day), crowd


class Past:
    """As of a moment and without some events: everything but the crowd's list is counted to the
    event, over the users who took one of the seeds."""

    def __init__(
        self,
        session: AsyncSession,
        positives: PositiveEvents,
        crowds: PastCrowds,
        moment: Moment,
        without: Collection[str],
    ) -> None:
        self._repository = RetrievalRepository(session)
        self._positives = positives
        self._crowds = crowds
        self._moment = moment
        self._without = frozenset(without)

    async def taken_by(self, user_id: str) -> list[str]:
        return await self._repository.taken_by(user_id, self._liked(self._moment))

    async def scores(self, seeds: Sequence[str]) -> Mapping[str, float]:
        liked = self._liked(self._moment)
        takers = await self._repository.takers(seeds, liked, MOST_TAKERS)
        asked = {user for users in takers.values() for user in users}
        histories = await self._repository.histories(asked, liked)
        capped = [seed for seed, users in takers.items() if len(users) == MOST_TAKERS]
        users = await self._repository.users_by_item(capped, liked) if capped else {}
        neighborhoods = {
            seed: _neighborhood(seed, asked, histories, users.get(seed))
            for seed, asked in takers.items()
        }
        return covisit_scores(seeds, neighborhoods)

    async def crowd(self) -> Crowd:
        day, crowd = await self._crowds.at(self._repository, self._moment)
        all_liked = self._positives.clause() & before(day)
        named = set(await self._repository.items_of_events(self._without, all_liked))
        if not named:
            return crowd
        with_them = await self._repository.users_by_item(named, all_liked)
        without_them = await self._repository.users_by_item(named, self._liked(day))
        fewer = sum(with_them.values()) - sum(without_them.values())
        popular = {
            item_id: without_them.get(item_id, 0) if item_id in named else users
            for item_id, users in crowd.popular.items()
        }
        ordered = sorted(popular.items(), key=lambda item: (-item[1], item[0]))
        return Crowd(dict(item for item in ordered if item[1]), crowd.takings - fewer)

    def users(self) -> UsersOfItem:
        return users_who_took(self._liked(self._moment))

    async def shown(
        self,
        repository: RetrievalRepository,
        item_ids: Collection[str],
        categories: Collection[str],
    ) -> Mapping[str, ShownItem]:
        return await repository.shown(item_ids, categories, self.users())

    def _liked(self, moment: Moment) -> Liked:
        return self._positives.clause() & before(moment) & none_of(self._without)


def _neighborhood(
    seed: str, takers: Sequence[str], histories: Mapping[str, Sequence[str]], users: int | None
) -> Neighborhood:
    others: dict[str, float] = {}
    counted = 0
    for user_id in takers:
        history = histories[user_id]
        if seed not in history:  # it lies further back than a history is counted
            continue
        counted += 1
        for other, weight in neighbors_in(history, history.index(seed)):
            others[other] = others.get(other, 0) + weight
    scale = 1.0 if users is None else users / len(takers)
    kept = [(other, scale * weight) for other, weight in strongest(others)]
    return Neighborhood(scale * counted, kept)
