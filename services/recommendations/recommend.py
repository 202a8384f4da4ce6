"""What POST /recommend does. Today the list comes from popularity, and the reply says so."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.catalog.positives import PositiveEvents
from services.catalog.repository import CatalogRepository
from services.observability.metrics import Metrics, SourceLabels
from services.retrieval.popularity import PopularItem, Popularity
from services.retrieval.repository import RetrievalRepository
from services.storage.database import Database


class Source(StrEnum):
    POPULARITY = "popularity"


@dataclass(frozen=True, slots=True)
class Recommended:
    item_id: str
    title: str | None
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Recommendation:
    recommendation_id: str
    items: Sequence[Recommended]
    source: Source
    degraded: bool


class Recommender:
    def __init__(
        self,
        database: Database,
        popularity: Popularity,
        positives: PositiveEvents,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._positives = positives
        self._popularity = popularity
        self._metrics = metrics

    async def recommend(
        self,
        *,
        user_id: str | None,
        history: Collection[str],
        candidates: Collection[str] | None,
        k: int,
        exclude_seen: bool,
    ) -> Recommendation:
        popular = await self._popularity.top()
        seen = await self._seen(user_id, history) if exclude_seen else set()
        pool = popular if candidates is None else _among(candidates, popular)
        chosen = await self._visible([item for item in pool if item.item_id not in seen], k)
        self._metrics.recommendations.add(SourceLabels(Source.POPULARITY))
        return Recommendation(
            recommendation_id=f"rec-{uuid.uuid4().hex}",
            items=[
                Recommended(item.item_id, item.title, float(item.users), rank)
                for rank, item in enumerate(chosen, start=1)
            ],
            source=Source.POPULARITY,
            degraded=True,
        )

    async def _seen(self, user_id: str | None, history: Collection[str]) -> set[str]:
        if user_id is None:
            return set(history)
        async with self._database.reading() as session:
            taken = await RetrievalRepository(session).items_taken_by(user_id, self._positives)
        return taken | set(history)

    async def _visible(self, ranked: Sequence[PopularItem], k: int) -> list[PopularItem]:
        """The first k that may be shown: since they were counted, items may have been hidden,
        deleted or named anew."""
        chosen: list[PopularItem] = []
        async with self._database.reading() as session:
            catalog = CatalogRepository(session)
            for start in range(0, len(ranked), 2 * k):
                part = ranked[start : start + 2 * k]
                known = await catalog.items_by_id([item.item_id for item in part])
                chosen += [
                    PopularItem(item.item_id, found.title, item.users)
                    for item in part
                    if (found := known.get(item.item_id)) is not None and not found.hidden
                ]
                if len(chosen) >= k:
                    break
        return chosen[:k]


def _among(candidates: Collection[str], popular: Sequence[PopularItem]) -> list[PopularItem]:
    """The caller's candidates by popularity; unpopular ones last, in the caller's order."""
    wanted = set(candidates)
    known = [item for item in popular if item.item_id in wanted]
    counted = {item.item_id for item in known}
    return [*known, *(PopularItem(id_, None, 0) for id_ in candidates if id_ not in counted)]
