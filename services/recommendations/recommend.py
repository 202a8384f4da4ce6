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
        pool = popular if candidates is None else await self._among(candidates, popular)
        chosen = [item for item in pool if item.item_id not in seen][:k]
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

    async def _among(
        self, candidates: Collection[str], popular: Sequence[PopularItem]
    ) -> Sequence[PopularItem]:
        """The caller's candidates by popularity; unpopular ones last, in the caller's order."""
        by_id = {item.item_id: item for item in popular}
        rest = [item_id for item_id in candidates if item_id not in by_id]
        async with self._database.reading() as session:
            known = await CatalogRepository(session).items_by_id(rest)
        wanted = set(candidates)
        return [
            *(item for item in popular if item.item_id in wanted),
            *(
                PopularItem(item_id, known[item_id].title, 0)
                for item_id in rest
                if item_id in known and not known[item_id].hidden
            ),
        ]
