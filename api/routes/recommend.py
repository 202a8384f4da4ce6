"""POST /recommend."""

from __future__ import annotations

from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.dependencies import ACCESS_ERRORS, Provided, caller_with
from api.problems import documented
from services.access.keys import Scope
from services.catalog.inputs import Id
from services.errors import InvalidRequest, TooLarge, Unavailable
from services.recommendations.recommend import Source

router = APIRouter(
    tags=["recommend"],
    dependencies=[Depends(caller_with(Scope.RECOMMEND))],
    responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS),
)


class RecommendIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"user_id": "user-0001", "k": 10}}
    )

    user_id: Id | None = None
    history: Annotated[tuple[Id, ...], Field(max_length=1000)] = Field(
        (), description="Items an anonymous user has taken, oldest first."
    )
    candidates: Annotated[tuple[Id, ...], Field(min_length=2, max_length=128)] | None = Field(
        None,
        description="Rank these items and no others.",
        json_schema_extra={"uniqueItems": True},
    )
    k: int = Field(10, ge=1, le=100)
    exclude_seen: bool = Field(True, description="Leave out what the user has already met.")

    @model_validator(mode="after")
    def _each_candidate_once(self) -> Self:
        if self.candidates is not None and len(set(self.candidates)) < len(self.candidates):
            raise ValueError("candidates must not repeat an item")
        return self


class RecommendedOut(BaseModel):
    item_id: str
    title: str | None
    score: float
    rank: int


class RecommendOut(BaseModel):
    recommendation_id: str = Field(description="Send it along with the events that answer to it.")
    items: list[RecommendedOut]
    source: Source = Field(description="Where the order comes from.")
    degraded: bool = Field(description="true: no language model had a part in this list.")


@router.post("/recommend", responses=documented(TooLarge))
async def recommend(wanted: RecommendIn, services: Provided) -> RecommendOut:
    """The best next items for a user, best first."""
    given = await services.recommender.recommend(
        user_id=wanted.user_id,
        history=wanted.history,
        candidates=wanted.candidates,
        k=wanted.k,
        exclude_seen=wanted.exclude_seen,
    )
    return RecommendOut(
        recommendation_id=given.recommendation_id,
        items=[
            RecommendedOut(item_id=i.item_id, title=i.title, score=i.score, rank=i.rank)
            for i in given.items
        ],
        source=given.source,
        degraded=given.degraded,
    )
