"""POST /recommend/batch: many lists in one call, each row with a result of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends
from pydantic import BaseModel, Field

from api.dependencies import ACCESS_ERRORS, Provided, caller_with
from api.problems import Problem, documented
from api.routes.recommend import RecommendIn, RecommendOut, answered
from services.access.keys import Scope
from services.errors import InvalidRequest, PublicError, TooLarge, Unavailable
from services.recommendations.batch import recommend_all
from services.recommendations.wanted import Recommendation

MOST_ROWS = 100

router = APIRouter(
    tags=["recommend"], responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS)
)


class RowOut(BaseModel):
    index: int = Field(description="The row's place in the request.")
    status: Literal["ok", "problem"]
    reply: RecommendOut | None = Field(None, description="As of POST /recommend.")
    problem: Problem | None = Field(None, description="429: no place was free in time.")


class BatchOut(BaseModel):
    ok: int
    problems: int
    results: list[RowOut] = Field(description="In the order of the rows.")


@router.post(
    "/recommend/batch",
    responses=documented(TooLarge),
    dependencies=[Depends(caller_with(Scope.RECOMMEND))],
)
async def recommend_batch(
    rows: Annotated[list[RecommendIn], Body(min_length=1, max_length=MOST_ROWS)],
    services: Provided,
) -> BatchOut:
    """Lists for many. A row that does not fit the schema refuses the whole batch and is named in
    `errors`; whatever else befalls a row is told in its own result."""
    given = await recommend_all(services.recommender, [row.wanted() for row in rows])
    results = [_result(index, one) for index, one in enumerate(given)]
    ok = sum(result.status == "ok" for result in results)
    return BatchOut(ok=ok, problems=len(results) - ok, results=results)


def _result(index: int, given: Recommendation | PublicError) -> RowOut:
    if isinstance(given, Recommendation):
        return RowOut(index=index, status="ok", reply=answered(given))
    problem = Problem(
        title=given.title,
        status=given.status,
        code=given.code,
        detail=given.detail,
        **given.extra,
    )
    return RowOut(index=index, status="problem", problem=problem)
