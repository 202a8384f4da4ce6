"""Whom and what a request is about: the user's state, the candidates, and the titles for a prompt.

Most of it is the database's. Where that is down, or slower than the deadline, what is at hand
without it takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from services.catalog.models import Item
from services.catalog.repository import CatalogRepository
from services.demonstrations.variant import ServedVariant
from services.errors import Unavailable
from services.llm.deadline import Deadline
from services.observability.logging import get_logger
from services.prompts import MOST_CANDIDATES, Limits
from services.ranking import Candidate as RankedCandidate
from services.ranking import RankingRequest
from services.recommendations.user_states import UserState, UserStates
from services.recommendations.wanted import GivenItem, Source, Wanted
from services.retrieval.popularity import Popularity
from services.retrieval.retrieval import Candidate, Retrieval
from services.retrieval.retrieval import Source as RetrievedBy
from services.storage.database import Database
from services.storage.unbroken import Unbroken

# Of a deadline, left for the answer that does without the database or the model.
RESERVED_SECONDS = 0.03

Result = TypeVar("Result")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Met:
    """Titles of `history` are of what a prompt may show, oldest first. `instead` and `reason` say
    what the pool is, and why, where it could not be looked up."""

    state: UserState
    history: tuple[str | None, ...]
    pool: tuple[Candidate, ...]  # in the order of retrieval, visible ones with their titles
    unknown: tuple[str, ...] = ()
    instead: Source | None = None
    reason: str | None = None

    @property
    def nothing_to_tell_apart(self) -> bool:
        return len(self.pool) < 2 or not any(item.title for item in self.pool)


def ranking_request(met: Met, variant: ServedVariant | None) -> RankingRequest:
    return RankingRequest(
        met.history,
        tuple(RankedCandidate(item.item_id, item.title) for item in met.pool[:MOST_CANDIDATES]),
        None if variant is None else variant.texts(),
    )


def early(deadline: Deadline) -> Deadline:
    """By when to have asked, so that there is time for an answer without."""
    return Deadline(deadline.at - min(RESERVED_SECONDS, deadline.remaining() / 4))


class Meeting:
    """`shown` is how many candidates retrieval is asked for where the caller names none."""

    def __init__(
        self,
        database: Database,
        states: UserStates,
        retrieval: Retrieval,
        popularity: Popularity,
        *,
        shown: int,
    ) -> None:
        self._database = database
        self._states = states
        self._retrieval = retrieval
        self._popularity = popularity
        self._shown = shown
        self._abandoned = Unbroken()

    async def aclose(self) -> None:
        await self._abandoned.aclose()

    async def meet(self, wanted: Wanted, deadline: Deadline) -> Met:
        """In time, and never raises for a part that is down."""
        until, state = early(deadline), None
        try:
            if wanted.user_id is not None:
                state = await self._in_time(self._states.of(wanted.user_id), until)
            return await self._in_time(self._looked_up(wanted, state or UserState()), until)
        except Unavailable:
            reason = "database_unavailable"
        except TimeoutError:
            reason = "database_slow"
        log.warning("recommended_without_database", reason=reason)
        return await self._at_hand(wanted, state, reason, deadline)

    async def _in_time(self, work: Coroutine[Any, Any, Result], deadline: Deadline) -> Result:
        """TimeoutError when the deadline passes. What is then under way is told to end and not
        waited for: a database that hangs takes its time even for that."""
        task = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=deadline.remaining())
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not done:
            self._abandon(task)
            raise TimeoutError
        return task.result()

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.take(task)  # whatever becomes of it, the answer was given without it
        task.cancel()

    # --- with the database --------------------------------------------------------------------

    async def _looked_up(self, wanted: Wanted, state: UserState) -> Met:
        named = {item.item_id: item.title for item in wanted.history if item.title is not None}
        history = (*state.history, *(item.item_id for item in wanted.history))
        if wanted.candidates is None:
            pool = await self._retrieval.candidates(
                # Who has taken more than is at hand: retrieval looks it up.
                user_id=None if state.complete else wanted.user_id,
                history=history,
                limit=max(self._shown, min(wanted.k, MOST_CANDIDATES)),
                exclude_seen=wanted.exclude_seen,
                categories=() if wanted.category is None else (wanted.category,),
            )
            shown, unknown = tuple(pool), tuple[str, ...]()
        else:
            seen = frozenset(history) if wanted.exclude_seen else frozenset[str]()
            from_catalog = [item for item in history if item not in named]
            shown, unknown = await self._given(wanted.candidates, from_catalog, seen)
        newest = history[-(Limits().history_items + Limits().extra_history_tokens) :]
        titles = await self._retrieval.titles([one for one in newest if one not in named]) | named
        return Met(state, tuple(titles.get(item) for item in newest), shown, unknown)

    async def _given(
        self, candidates: Sequence[GivenItem], history: Sequence[str], seen: Collection[str]
    ) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
        """The caller's candidates in the order of retrieval, and which of them nobody knows."""
        by_id = [item.item_id for item in candidates if item.title is None]
        known = await self._items(by_id)
        titles = {item.item_id: item.title for item in candidates}
        titles |= {item_id: item.title for item_id, item in known.items()}
        unknown = [item_id for item_id in by_id if item_id not in known]
        hidden = {item_id for item_id, item in known.items() if item.hidden}
        left_out = {*unknown, *hidden, *seen}
        wanted = [item.item_id for item in candidates if item.item_id not in left_out]
        # Where nothing is the catalog's, nobody needs the database to be up.
        priors = dict.fromkeys(wanted, 0.0)
        if by_id or history:
            priors = await self._retrieval.priors(wanted, history=history)
        shown = [
            Candidate(item_id, titles[item_id], priors[item_id], RetrievedBy.POPULARITY)
            for item_id in sorted(wanted, key=lambda item_id: -priors[item_id])
        ]
        return tuple(shown), tuple(unknown)

    async def _items(self, item_ids: Sequence[str]) -> Mapping[str, Item]:
        if not item_ids:
            return {}
        async with self._database.reading() as session:
            return await CatalogRepository(session).items_by_id(item_ids)

    # --- without the database -----------------------------------------------------------------

    async def _at_hand(
        self, wanted: Wanted, state: UserState | None, reason: str, deadline: Deadline
    ) -> Met:
        """The last good ranking; else the popular. The caller's candidates stay as they came. That
        an item was hidden since, or which category it is in, nobody can say now."""
        last = None if state is None else state.last
        popular = self._popularity.at_hand
        with contextlib.suppress(TimeoutError):
            popular = await self._in_time(self._popularity.kept(), deadline)
            if state is None and wanted.user_id is not None:
                last = await self._in_time(self._states.last_of(wanted.user_id), deadline)
        met = replace(state or UserState(), last=last)
        taken = (*met.history, *(item.item_id for item in wanted.history))
        seen = frozenset(taken if wanted.exclude_seen else ())
        titles = {item.item_id: item.title for item in popular}
        lists = {
            Source.LAST_RANKING: () if last is None else last.item_ids,
            Source.POPULARITY: tuple(titles),
        }
        if wanted.category is not None:
            lists = {}
        if wanted.candidates is not None:
            titles |= {item.item_id: item.title for item in wanted.candidates if item.title}
            lists = {Source.GIVEN: tuple(item.item_id for item in wanted.candidates)}
        for source, item_ids in lists.items():
            pool = tuple(
                Candidate(item_id, titles.get(item_id), 0.0, RetrievedBy.POPULARITY)
                for item_id in item_ids
                if item_id not in seen
            )
            if pool:
                return Met(met, (), pool, instead=source, reason=reason)
        return Met(met, (), (), instead=Source.NOTHING, reason=reason)
