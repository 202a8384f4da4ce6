"""Candidates for a user: what goes with their newest items, then what is popular, then the rest of
the catalog; now, or as of a moment and without events that an evaluation holds out."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice

from services.catalog.inputs import FURTHEST_FUTURE
from services.catalog.positives import PositiveEvents
from services.retrieval.covisitation import SEEDS, Moment, prior
from services.retrieval.evidence import Crowd, Evidence, Past, PastCrowds, Present
from services.retrieval.index_repository import users_counted
from services.retrieval.known_items import KnownItems
from services.retrieval.popularity import Popularity
from services.retrieval.repository import RetrievalRepository, ShownItem
from services.storage.database import Database

CANDIDATES = 50
# Read so many times more than asked for: some are hidden, and close ones change places when the
# users of each are known.
SLACK = 4


class Source(StrEnum):
    COVISIT = "covisit"
    POPULARITY = "popularity"


@dataclass(frozen=True, slots=True)
class Candidate:
    """`prior` is the log of retrieval's score, comparable within one list."""

    item_id: str
    title: str | None
    prior: float
    source: Source


class Retrieval:
    def __init__(
        self,
        database: Database,
        popularity: Popularity,
        positives: PositiveEvents,
        items: KnownItems,
    ) -> None:
        self._database = database
        self._positives = positives
        self._items = items
        self._present = Present(popularity, positives, items)
        self._crowds = PastCrowds(positives)

    async def candidates(
        self,
        *,
        user_id: str | None = None,
        history: Sequence[str] = (),
        limit: int = CANDIDATES,
        exclude_seen: bool = True,
        categories: Collection[str] = (),
        as_of: Moment | None = None,
        without: Collection[str] = (),
    ) -> list[Candidate]:
        """The best first, as many as there are up to the limit.

        `history` are items, oldest first, that the caller knows of beside the user's own events and
        that are newer. With `as_of`, nothing that happened at that moment or later has a say, and
        `without` names events, by id, that never have. Hidden is what is hidden today: the catalog
        does not remember when.
        """
        async with self._evidence(as_of, without) as (repository, evidence):
            taken = await _taken(evidence, user_id, history)
            scores = await _scores(evidence, taken)
            crowd = await evidence.crowd()
            seen = set(taken) if exclude_seen else set()
            pool = (item for item in _pool(scores, crowd) if item not in seen)
            chosen: list[Candidate] = []
            looked_at = set(seen)
            while part := list(islice(pool, SLACK * limit)):
                looked_at.update(part)
                shown = await evidence.shown(repository, part, categories)
                chosen += _best(shown.values(), scores, crowd, limit - len(chosen))
                if len(chosen) == limit:
                    return chosen
            more = await repository.more_shown(
                looked_at, categories, evidence.users(), limit - len(chosen)
            )
            # Among these, too, may be some that were taken since the popular were counted.
            return _in_order([*chosen, *_best(more, scores, crowd, len(more))])

    async def priors(
        self,
        item_ids: Collection[str],
        *,
        user_id: str | None = None,
        history: Sequence[str] = (),
        as_of: Moment | None = None,
        without: Collection[str] = (),
    ) -> dict[str, float]:
        """The prior of items that the caller chose, known or unknown, hidden or not."""
        async with self._evidence(as_of, without) as (repository, evidence):
            taken = await _taken(evidence, user_id, history)
            scores = await _scores(evidence, taken)
            crowd = await evidence.crowd()
            users = await repository.users_of(item_ids, evidence.users())
            return {
                item_id: _prior(item_id, users.get(item_id, 0), scores, crowd)
                for item_id in item_ids
            }

    async def titles(self, item_ids: Collection[str]) -> dict[str, str | None]:
        """Of those that the catalog knows, hidden or not."""
        if not item_ids:
            return {}
        async with self._database.reading() as session:
            return await self._items.titles(RetrievalRepository(session), item_ids, users_counted())

    @contextlib.asynccontextmanager
    async def _evidence(
        self, as_of: Moment | None, without: Collection[str]
    ) -> AsyncIterator[tuple[RetrievalRepository, Evidence]]:
        if as_of is None and not without:
            now = await self._present.now()
            async with self._database.reading() as session:
                yield RetrievalRepository(session), self._present.at(session, now)
            return
        moment = as_of or Moment(datetime.now(UTC) + FURTHEST_FUTURE)
        async with self._database.reading() as session:
            past = Past(session, self._positives, self._crowds, moment, without)
            yield RetrievalRepository(session), past


async def _taken(evidence: Evidence, user_id: str | None, history: Sequence[str]) -> list[str]:
    """Newest first, every item once."""
    own = await evidence.taken_by(user_id) if user_id is not None else []
    return list(dict.fromkeys([*reversed(history), *own]))


async def _scores(evidence: Evidence, taken: Sequence[str]) -> Mapping[str, float]:
    seeds = taken[:SEEDS]
    return await evidence.scores(seeds) if seeds else {}


def _pool(scores: Mapping[str, float], crowd: Crowd) -> Iterator[str]:
    """All that co-visits or popularity speak for, nearly in their final order. The popular come in
    theirs already, so no more of them are looked at than are taken."""
    shares, unknown = crowd.shares, crowd.unknown
    near = sorted(
        [(-(score + shares.get(item_id, unknown)), item_id) for item_id, score in scores.items()]
    )
    rest = (one for one in crowd.ranked if one[1] not in scores)
    return (item_id for _, item_id in heapq.merge(near, rest))


def _best(
    items: Collection[ShownItem], scores: Mapping[str, float], crowd: Crowd, limit: int
) -> list[Candidate]:
    found = [
        (-_prior(item.item_id, item.users, scores, crowd), item.item_id, item) for item in items
    ]
    return [
        Candidate(
            item_id,
            item.title,
            -less,
            Source.COVISIT if item_id in scores else Source.POPULARITY,
        )
        for less, item_id, item in sorted(found)[:limit]
    ]


def _in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda candidate: (-candidate.prior, candidate.item_id))


def _prior(item_id: str, users: int, scores: Mapping[str, float], crowd: Crowd) -> float:
    # The popular list may know of users whom the index has not counted yet.
    known = max(users, crowd.popular.get(item_id, 0))
    return prior(scores.get(item_id, 0.0), known, crowd.takings)
