"""X_T_reg, the sentence that limits what the model may answer: changed by drafts, once compared."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter, Depends, status
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import ACCESS_ERRORS, PathId, Provided, caller_with
from api.problems import documented
from api.schemas import Stored
from services.access.keys import Scope
from services.catalog.inputs import Title
from services.errors import Conflict, InvalidRequest, NotFound, TooLarge, Unavailable

router = APIRouter(
    prefix="/admin/regularization",
    tags=["learning"],
    dependencies=[Depends(caller_with(Scope.ADMIN))],
    responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS),
)


class RegularizationIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "by_label": "Answer with labels of candidates alone, best first.",
                "by_title": "Answer with the title of one item alone.",
            }
        },
    )

    by_label: Title = Field(description="One plain line, where the model answers with labels.")
    by_title: Title = Field(description="The same for `likelihood`, where it answers with a title.")


class RegularizationOut(Stored):
    version: str
    by_label: str
    by_title: str
    state: Literal["draft", "active", "retired"]
    comparison: Mapping[str, Any] | None = Field(
        description="With the text that was in force: Effect_D and log-score of both on held-out "
        "events, and the difference with its 95 % interval over users."
    )
    made_at: datetime | None = Field(description="null: it ships with this version.")
    activated_at: datetime | None


class CompareIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    users: int = Field(100, ge=2, le=1000, description="Drawn from those with enough events.")
    budget_tokens: int | None = Field(
        None, ge=1, description="Most tokens it may cost: then fewer users are compared."
    )


@router.get("")
async def list_regularizations(services: Provided) -> list[RegularizationOut]:
    """The text in force first, then drafts and texts that were in force, the newest first."""
    return [RegularizationOut.model_validate(one) for one in await services.regularizations.all()]


@router.put("", responses=documented(TooLarge))
async def draft_regularization(wanted: RegularizationIn, services: Provided) -> RegularizationOut:
    """Make a draft. Nothing is served under it before it is compared and activated."""
    return RegularizationOut.model_validate(
        await services.regularizations.draft(wanted.by_label, wanted.by_title)
    )


@router.post(
    "/{version}/compare",
    status_code=status.HTTP_202_ACCEPTED,
    responses=documented(NotFound, Conflict, TooLarge),
)
async def compare_regularization(
    version: PathId, services: Provided, wanted: CompareIn | None = None
) -> RegularizationOut:
    """Rank the held-out events of a cohort under the draft and under the text in force. A worker
    does it; the comparison tells how far it has got."""
    asked = wanted or CompareIn()
    return RegularizationOut.model_validate(
        await services.regularizations.compare(version, asked.users, asked.budget_tokens)
    )


@router.post("/{version}/activate", responses=documented(NotFound, Conflict))
async def activate_regularization(version: PathId, services: Provided) -> RegularizationOut:
    """Make and judge everything under a draft that was compared, from now on. What was learned
    under the text before stays served, is marked stale, and is judged again by later rounds."""
    return RegularizationOut.model_validate(await services.regularizations.activate(version))
