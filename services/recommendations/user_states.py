"""What must be at hand of a user to recommend: the newest items, the variants that may be served,
and the last good ranking.

It is kept in Redis, found in one round trip, and made anew from the database where it is not there.
Each state carries its version: the `seq` of the newest event and the number of the newest switch
that it knows of. A commit raises the version first, so a reader who was slow never brings an older
state back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any

from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from services.catalog.positives import PositiveEvents
from services.demonstrations.repository import DemonstrationsRepository
from services.demonstrations.variant import ServedVariant
from services.observability.logging import get_logger
from services.observability.metrics import Metrics, OutcomeLabels
from services.recommendations.kept import packed, unpacked
from services.recommendations.repository import RecommendationsRepository
from services.storage.database import Database
from services.storage.redis import OUTAGE, USERS_EPOCH, user_key
from services.storage.unbroken import Unbroken

HISTORY_KEPT = 64
LAST_KEPT = 50

log = get_logger(__name__)

# A state replaces one that knows no more than itself, in the epoch that it was asked for.
_REFILL = """
if tonumber(redis.call('HGET', KEYS[1], 'v') or '0') > tonumber(ARGV[1]) then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'w') or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'w', ARGV[2], 'state', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
# What an older version led to is forgotten; but the last ranking, which is better than none.
_RAISE = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[1], 'state')
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
_EVENTS, _SWITCHES = "v", "w"  # the two halves of a version
_AS_BYTES = {NEVER_DECODE: True}


@dataclass(frozen=True, slots=True)
class LastRanking:
    """`question` is a digest of all that the ranking was made from."""

    question: str
    at: float
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class UserState:
    """`history` are ids of the newest positives, oldest first; all there are where `complete`.
    `version` is of events, `switched` counts the switches."""

    version: int = 0
    history: tuple[str, ...] = ()
    complete: bool = True
    switched: int = 0
    variants: tuple[ServedVariant, ...] = ()
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
        self._unbroken = Unbroken()
        self._refilling: dict[str, asyncio.Task[UserState]] = {}

    async def of(self, user_id: str) -> UserState:
        """From Redis; else from the database, read once for all who ask at the same time."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.execute_command("HMGET", user_key(user_id), "state", "last", **_AS_BYTES)
                pipe.get(USERS_EPOCH)
                (state, last), epoch = await pipe.execute()
        except OUTAGE:
            self._count("redis_down")
            return await self._read(user_id)
        known, remembered = unpacked(state), _last(unpacked(last))
        # A version of ours that is being replaced may have kept less.
        if known is None or "variants" not in known or known["epoch"] != epoch:
            self._count("missed")
            refilled = await self._refilled(user_id, epoch)
            return replace(refilled, last=remembered)
        self._count("found")
        return replace(_state(known), last=remembered)

    async def last_of(self, user_id: str) -> LastRanking | None:
        """For those who cannot have the rest of the state: the database does not answer."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.execute_command("HGET", user_key(user_id), "last", **_AS_BYTES)
                (last,) = await pipe.execute()
        except OUTAGE:
            return None
        return _last(unpacked(last))

    def remember(self, user_id: str, last: LastRanking) -> None:
        """Behind the answer: nobody waits for Redis to have it."""
        self._unbroken.begin(self.keep_last(user_id, last))

    async def aclose(self) -> None:
        await self._unbroken.aclose()

    async def keep_last(self, user_id: str, last: LastRanking) -> None:
        """Best effort: without it the next call asks the model again."""
        content = packed(
            [last.question, round(last.at, 3), last.item_ids, [round(s, 4) for s in last.scores]]
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
        await self._raise_all(_EVENTS, newest)

    async def raise_switches(self, newest: Mapping[str, int]) -> None:
        """After a commit: the number of the newest switch of each of these users."""
        await self._raise_all(_SWITCHES, newest)

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

    async def _raise_all(self, half: str, newest: Mapping[str, int]) -> None:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for user_id, version in newest.items():
                    await self._raise(
                        keys=[user_key(user_id)],
                        args=[half, version, self._kept_seconds],
                        client=pipe,
                    )
                await pipe.execute()
        except OUTAGE:
            # Then a state is stale until it expires.
            self._count("not_raised")
            log.warning("user_states_not_raised", users=len(newest))

    async def _refilled(self, user_id: str, epoch: str | None) -> UserState:
        running = self._refilling.get(user_id)
        if running is None:
            running = self._unbroken.begin(self._refill_one(user_id, epoch))
            self._refilling[user_id] = running
            running.add_done_callback(lambda _: self._refilling.pop(user_id, None))
        return await asyncio.shield(running)

    async def _refill_one(self, user_id: str, epoch: str | None) -> UserState:
        state = await self._read(user_id)
        content = _content(state) | {"epoch": epoch}
        try:
            await self._refill(
                keys=[user_key(user_id)],
                args=[
                    state.version,
                    state.switched,
                    packed(content),
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
            switched, variants = await DemonstrationsRepository(session).served(user_id)
        history = tuple(reversed(newest[:HISTORY_KEPT]))
        complete = len(newest) <= HISTORY_KEPT
        return UserState(version, history, complete, switched, tuple(variants))

    def _count(self, outcome: str) -> None:
        self._metrics.user_states.add(OutcomeLabels(outcome))


def _content(state: UserState) -> dict[str, Any]:
    """As JSON is kept: variants without the names of their fields, which weigh as much."""
    return {
        "v": state.version,
        "w": state.switched,
        "complete": state.complete,
        "history": state.history,
        "variants": [astuple(variant) for variant in state.variants],
    }


def _state(content: Mapping[str, Any]) -> UserState:
    return UserState(
        content["v"],
        tuple(content["history"]),
        content["complete"],
        content["w"],
        tuple(ServedVariant(*fields) for fields in content["variants"]),
    )


def _last(content: Sequence[Any] | None) -> LastRanking | None:
    if content is None:
        return None
    question, at, item_ids, scores = content
    return LastRanking(question, at, tuple(item_ids), tuple(scores))
