"""What must be at hand of a user to recommend: the newest items, and the last good ranking.

It is kept in Redis, found in one round trip, and made anew from the database where it is not there.
Each state carries the `seq` of the newest event it knows of. A commit of newer events raises the
version first, so a reader who was slow never brings an older state back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from services.catalog.positives import PositiveEvents
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, OutcomeLabels
from services.recommendations.repository import RecommendationsRepository
from services.storage.database import Database
from services.storage.redis import OUTAGE, USERS_EPOCH, user_key

HISTORY_KEPT = 64
LAST_KEPT = 50

log = get_logger(__name__)

# A state replaces one that knows no more than itself, in the epoch that it was asked for.
_REFILL = """
if tonumber(redis.call('HGET', KEYS[1], 'v') or '0') > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'state', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
# What an older version led to is forgotten; but the last ranking, which is better than none.
_RAISE = """
if tonumber(redis.call('HGET', KEYS[1], 'v') or '0') >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1])
redis.call('HDEL', KEYS[1], 'state')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True, slots=True)
class LastRanking:
    """`question` is a digest of all that the ranking was made from."""

    question: str
    at: float
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class UserState:
    """`history` are ids of the newest positives, oldest first; all there are where `complete`."""

    version: int = 0
    history: tuple[str, ...] = ()
    complete: bool = True
    last: LastRanking | None = field(default=None, compare=False)


class UserStates:
    def __init__(
        self,
        database: Database,
        redis: Redis,
        positives: PositiveEvents,
        metrics: Metrics,
        *,
        kept_seconds: int,
    ) -> None:
        self._database = database
        self._redis = redis
        self._positives = positives
        self._metrics = metrics
        self._kept_seconds = kept_seconds
        self._refill = redis.register_script(_REFILL)
        self._raise = redis.register_script(_RAISE)
        self._refilling: dict[str, asyncio.Task[UserState]] = {}

    async def of(self, user_id: str) -> UserState:
        """From Redis; else from the database, read once for all who ask at the same time."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(user_key(user_id), "state", "last")
                pipe.get(USERS_EPOCH)
                (state, last), epoch = await pipe.execute()
        except OUTAGE:
            self._count("redis_down")
            return await self._read(user_id)
        known = None if state is None else json.loads(state)
        remembered = None if last is None else _last(json.loads(last))
        if known is None or known["epoch"] != epoch:
            self._count("missed")
            refilled = await self._refilled(user_id, epoch)
            return UserState(refilled.version, refilled.history, refilled.complete, remembered)
        self._count("found")
        return UserState(known["v"], tuple(known["history"]), known["complete"], remembered)

    async def keep_last(self, user_id: str, last: LastRanking) -> None:
        """Best effort: without it the next call asks the model again."""
        content = json.dumps(
            [last.question, round(last.at, 3), last.item_ids, [round(s, 4) for s in last.scores]],
            separators=(",", ":"),
        )
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(user_key(user_id), "last", content)
                pipe.expire(user_key(user_id), self._kept_seconds)
                await pipe.execute()
        except OUTAGE:
            self._count("not_kept")

    async def raise_versions(self, newest: Mapping[str, int]) -> None:
        """After a commit: the `seq` of the newest event of each of these users."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for user_id, seq in newest.items():
                    await self._raise(
                        keys=[user_key(user_id)], args=[seq, self._kept_seconds], client=pipe
                    )
                await pipe.execute()
        except OUTAGE:
            # Then a state is stale until it expires.
            self._count("not_raised")
            log.warning("user_states_not_raised", users=len(newest))

    async def begin_epoch(self) -> None:
        """After a commit about more users than are worth naming: all states are made anew."""
        try:
            await self._redis.incr(USERS_EPOCH)
        except OUTAGE:
            self._count("not_raised")

    async def forget(self, user_id: str) -> None:
        try:
            await self._redis.delete(user_key(user_id))
        except OUTAGE:
            self._count("not_raised")

    async def _refilled(self, user_id: str, epoch: str | None) -> UserState:
        running = self._refilling.get(user_id)
        if running is None:
            running = asyncio.create_task(self._refill_one(user_id, epoch))
            self._refilling[user_id] = running
            running.add_done_callback(lambda _: self._refilling.pop(user_id, None))
        return await asyncio.shield(running)

    async def _refill_one(self, user_id: str, epoch: str | None) -> UserState:
        state = await self._read(user_id)
        content = {
            "v": state.version, "epoch": epoch, "complete": state.complete,
            "history": state.history,
        }  # fmt: skip
        try:
            await self._refill(
                keys=[user_key(user_id)],
                args=[
                    state.version,
                    json.dumps(content, separators=(",", ":"), ensure_ascii=False),
                    self._kept_seconds,
                ],
            )
        except OUTAGE:
            self._count("not_kept")
        return state

    async def _read(self, user_id: str) -> UserState:
        async with self._database.reading() as session:
            version, newest = await RecommendationsRepository(session).newest_positives(
                user_id, self._positives, HISTORY_KEPT + 1
            )
        history = tuple(reversed(newest[:HISTORY_KEPT]))
        return UserState(version, history, complete=len(newest) <= HISTORY_KEPT)

    def _count(self, outcome: str) -> None:
        self._metrics.user_states.add(OutcomeLabels(outcome))


def _last(content: Sequence[Any]) -> LastRanking:
    question, at, item_ids, scores = content
    return LastRanking(question, at, tuple(item_ids), tuple(scores))
