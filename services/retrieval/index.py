"""Keeping the co-visitation index: it is built user by user, then follows the events.

Every step is one short transaction that holds the lock of its index and commits how far it got
together with what it did: steps may be repeated, broken off, and taken by several workers. A user's
history is never added to: what was counted of it is taken away and the present one is counted, so
late events, deletions and jobs that run twice leave what a new build would make.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.positives import PositiveEvents
from services.observability.metrics import Metrics, NoLabels
from services.retrieval.covisitation import BACKWARD, FORWARD, HISTORY, Pair, pairs_of
from services.retrieval.index_repository import IndexRepository
from services.retrieval.models import CovisitIndexState
from services.retrieval.repository import RetrievalRepository
from services.storage.database import Database

USERS_A_STEP = 200
EVENTS_A_STEP = 500
ITEMS_DROPPED_A_STEP = 200
# A transaction may commit an event after one with a higher seq was counted. So events are looked at
# once more when they are older than any transaction lives.
SETTLED = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    users: int
    takings: int
    pairs: int


class CovisitIndex:
    def __init__(self, database: Database, positives: PositiveEvents, metrics: Metrics) -> None:
        self._database = database
        self._positives = positives
        self._metrics = metrics
        self._rule = _rule(positives)

    async def refresh(self, *, seconds: float) -> bool:
        """Count what is new, or build the index if there is none by the present rule. False if the
        time was over before the work was."""
        began = time.monotonic()
        until = began + seconds
        indexes = await self._indexes()
        current = next((index for index in indexes if index.rule == self._rule), None)
        serving = next((index for index in indexes if index.complete), None)
        if serving is not None and serving is not current and serving.rule == self._rule:
            await self._follow(serving.index_id, until)
        index_id = await self._begin() if current is None else current.index_id
        finished = (
            (current is not None and current.complete) or await self._build(index_id, until)
        ) and await self._follow(index_id, until)
        if finished:
            finished = await self._drop_all_but(index_id, until)
        self._metrics.covisit_refresh_seconds.observe(NoLabels(), time.monotonic() - began)
        return finished

    async def rebuild(self, told: Callable[[int, int], None]) -> Rebuilt:
        """Count everything anew, beside the index that serves until this one is complete. A rebuild
        that broke off goes on where it stopped."""
        indexes = await self._indexes()
        unfinished = indexes and not indexes[0].complete and indexes[0].rule == self._rule
        index_id = indexes[0].index_id if unfinished else await self._begin()
        async with self._database.reading() as session:
            users = await IndexRepository(session).number_of_users()
        await self._build(index_id, None, lambda done: told(min(done, users), users))
        await self._follow(index_id, None)
        await self._drop_all_but(index_id, None)
        async with self._database.reading() as session:
            index = await IndexRepository(session).serving()
        assert index is not None, "nobody drops the newest complete index"
        return Rebuilt(users, index.takings, index.pairs)

    async def _indexes(self) -> Sequence[CovisitIndexState]:
        async with self._database.reading() as session:
            return await IndexRepository(session).indexes()

    async def _begin(self) -> int:
        async def begin(session: AsyncSession) -> int:
            repository = IndexRepository(session)
            now = datetime.now(UTC)
            settled = await repository.newest_seq(received_before=now - SETTLED)
            return await repository.begin(self._rule, seq=settled, now=now)

        return await self._database.write(begin)

    async def _build(
        self, index_id: int, until: float | None, told: Callable[[int], None] = lambda _: None
    ) -> bool:
        done = 0

        async def step(session: AsyncSession) -> int | None:
            repository = IndexRepository(session)
            index = await repository.lock(index_id)
            if index is None or index.complete:
                return None
            users = await repository.users_after(index.built_to, USERS_A_STEP)
            if users:
                await count_anew(session, index, users, self._positives)
                index.built_to = users[-1]
            index.complete = len(users) < USERS_A_STEP
            return len(users)

        while (counted := await self._database.write(step)) is not None:
            done += counted
            told(done)
            if counted == USERS_A_STEP and _is_over(until):
                return False
        return True

    async def _follow(self, index_id: int, until: float | None) -> bool:
        while not await self._database.write(partial(self._follow_step, index_id=index_id)):
            if _is_over(until):
                return False
        return True

    async def _follow_step(self, session: AsyncSession, index_id: int) -> bool:
        """True if everything that happened is counted."""
        repository = IndexRepository(session)
        index = await repository.lock(index_id)
        if index is None:  # replaced meanwhile
            return True
        now = datetime.now(UTC)
        newest = await repository.newest_seq(after=index.seq)
        index.seq, users = await self._takers(repository, index.seq, newest)
        settled = await repository.newest_seq(
            after=index.settled_seq, received_before=now - SETTLED
        )
        again = min(settled, index.seq)
        index.settled_seq, more = await self._takers(repository, index.settled_seq, again)
        stale = await repository.stale_users(index_id, USERS_A_STEP)
        await count_anew(session, index, {*users, *more, *stale}, self._positives)
        if index.seq < newest or index.settled_seq < again or len(stale) == USERS_A_STEP:
            return False
        index.refreshed_at = now
        self._metrics.covisit_pairs.set(NoLabels(), index.pairs)
        self._metrics.covisit_refreshed_at.set(NoLabels(), now.timestamp())
        return True

    async def _takers(
        self, repository: IndexRepository, after: int, up_to: int
    ) -> tuple[int, set[str]]:
        """The users of the next events, and how far these reach."""
        events = await repository.takers_since(after, up_to, self._positives, EVENTS_A_STEP)
        reached = events[-1][0] if len(events) == EVENTS_A_STEP else max(after, up_to)
        return reached, {user_id for _, user_id in events}

    async def _drop_all_but(self, kept: int, until: float | None) -> bool:
        for index in await self._indexes():
            while index.index_id < kept and await self._database.write(
                partial(_drop_part, index_id=index.index_id)
            ):
                if _is_over(until):
                    return False
        return True


async def _drop_part(session: AsyncSession, index_id: int) -> bool:
    return await IndexRepository(session).drop_part(index_id, ITEMS_DROPPED_A_STEP)


async def count_anew(
    session: AsyncSession,
    index: CovisitIndexState,
    user_ids: Collection[str],
    positives: PositiveEvents,
) -> None:
    """Bring the users' share of an index to what they have taken by now."""
    if not user_ids:
        return
    repository = IndexRepository(session)
    counted = await repository.counted(index.index_id, user_ids)
    present = await RetrievalRepository(session).histories(user_ids, positives.clause())
    await repository.save_histories(
        index.index_id, {user_id: present.get(user_id, []) for user_id in user_ids}
    )
    await _apply(repository, index, counted, present)


async def forget_user(session: AsyncSession, index: CovisitIndexState, user_id: str) -> None:
    repository = IndexRepository(session)
    counted = await repository.counted(index.index_id, [user_id])
    await repository.forget_history(index.index_id, user_id)
    await _apply(repository, index, counted, {})


async def _apply(
    repository: IndexRepository,
    index: CovisitIndexState,
    counted: Mapping[str, Sequence[str]],
    present: Mapping[str, Sequence[str]],
) -> None:
    changes: Counter[Pair] = Counter()
    for histories, sign in ((present, 1), (counted, -1)):
        for user_id, history in histories.items():
            if counted.get(user_id) == present.get(user_id):
                continue  # most of the events looked at again
            index.takings += sign * len(history)
            for pair, weight in pairs_of(history):
                changes[pair] += sign * weight
    changed = {pair: weight for pair, weight in changes.items() if weight}
    index.pairs += await repository.add(index.index_id, changed)


def _is_over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def _rule(positives: PositiveEvents) -> str:
    """What an index has counted, and how: by another rule it is built anew."""
    told = repr((HISTORY, FORWARD, BACKWARD, positives.rules))
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
