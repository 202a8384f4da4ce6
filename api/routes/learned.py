"""What was learned of a user: memory, paths, the prompt as it is served, and the way back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from api.dependencies import ACCESS_ERRORS, PathId, Provided, caller_with
from api.pages import Cursor, Limit, Page, decode_cursor, encode_cursor
from api.problems import documented
from api.schemas import Stored
from services.access.keys import Scope
from services.catalog.inputs import Id
from services.errors import (
    Conflict,
    InvalidRequest,
    MalformedCursor,
    NotFound,
    TooLarge,
    Unavailable,
)
from services.optimizer.memory import expect_user, memory_of, paths_of
from services.optimizer.rollback import ZERO_SHOT

router = APIRouter(
    prefix="/admin/users/{user_id}",
    tags=["learning"],
    dependencies=[Depends(caller_with(Scope.ADMIN))],
    responses=documented(InvalidRequest, Unavailable, NotFound, *ACCESS_ERRORS),
)

_Number = Annotated[int, Field(ge=-1, lt=2**31)]
VariantKey: TypeAdapter[tuple[int, int]] = TypeAdapter(tuple[_Number, _Number])


class VariantOut(Stored):
    variant_id: str
    path: int
    round: int
    demonstration: str = Field(description="X_D_curr, as it stands in the prompt.")
    perturbation: str | None = Field(description="X_D_per, borrowed from another path.")
    active: bool = Field(description="Served to the user.")
    accepted: bool | None = Field(description="null: not judged yet.")
    incumbent: bool = Field(description="The best of its path.")
    effective: bool = Field(description="In the user's memory.")
    stale: bool = Field(
        description="Judged by another model, or under another X_T_reg, than lists are made with."
    )
    effect_d: float | None = Field(description="On held-out events, when it was judged last.")
    log_score: float | None
    tokens: int
    fingerprint: str | None = Field(description="Effect_D is compared under one alone.")
    made_at: datetime


class MemoryOut(BaseModel):
    active: str | None = Field(description="The variant that is served; null: zero-shot.")
    switches: int = Field(description="How often that has changed.")
    effective: list[VariantOut] = Field(description="The memory, best first.")
    variants: Page[VariantOut] = Field(description="All that was written, the newest first.")


class StepOut(Stored):
    similarity: float | None
    improvement: float = Field(description="In log-score; 0: not accepted.")


class PathOut(Stored):
    path: int
    rounds: int
    collapsed: bool = Field(description="Then its next round borrows from another path.")
    steps: list[StepOut] = Field(description="Of the newest rounds, oldest first.")
    incumbent: VariantOut | None
    latest: str | None = Field(description="What it wrote last, whatever became of it.")


class RollbackIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"to": ZERO_SHOT}})

    to: Id | None = Field(
        None,
        description=f"A variant, or `{ZERO_SHOT}`. Left out: what was served before.",
    )


class RollbackOut(Stored):
    before: str | None = Field(description="null: zero-shot.")
    now: str | None = Field(description="null: zero-shot.")
    switched: int = Field(description="How often what is served has changed.")


class PromptSegmentOut(BaseModel):
    name: str
    part: Literal["X_T", "X_D"] = Field(description="Instruction or demonstration.")
    text: str
    tokens: int


class PromptOut(BaseModel):
    variant: str | None = Field(description="The one in the prompt; null: zero-shot.")
    segments: list[PromptSegmentOut] = Field(description="In the order in which they are sent.")
    tokens: int
    demonstration_refused: bool = Field(description="There is one, and it did not fit.")
    history_left_out: int
    fingerprint: str = Field(description="A variant judged under another one is stale.")


@router.get("/demonstrations", responses=documented(MalformedCursor))
async def get_demonstrations(
    user_id: PathId, services: Provided, limit: Limit = 20, cursor: Cursor = None
) -> MemoryOut:
    """The user's memory, and everything that was ever written for them."""
    after = decode_cursor(cursor, VariantKey)
    async with services.database.reading() as session:
        memory = await memory_of(session, user_id, after, limit)
    last = memory.variants[-1] if len(memory.variants) == limit else None
    return MemoryOut(
        active=memory.active,
        switches=memory.switches,
        effective=[VariantOut.model_validate(one) for one in memory.effective],
        variants=Page(
            items=[VariantOut.model_validate(one) for one in memory.variants],
            next_cursor=encode_cursor(last.round, last.path) if last else None,
        ),
    )


@router.get("/paths")
async def get_paths(user_id: PathId, services: Provided) -> list[PathOut]:
    """How the user's paths stand: their best, what they wrote last, and whether they collapsed."""
    async with services.database.reading() as session:
        return [PathOut.model_validate(one) for one in await paths_of(session, user_id)]


@router.post("/rollback", responses=documented(Conflict, TooLarge))
async def roll_back(
    user_id: PathId, services: Provided, wanted: RollbackIn | None = None
) -> RollbackOut:
    """Serve what was served before, another variant, or zero-shot, from the next list on. What is
    taken back leaves the memory and is no path's best any more: later rounds begin without it."""
    to = None if wanted is None else wanted.to
    return RollbackOut.model_validate(await services.rollbacks.roll_back(user_id, to))


@router.get("/prompt", responses=documented(Conflict))
async def get_prompt(user_id: PathId, services: Provided) -> PromptOut:
    """The prompt as it would be sent for this user's list now. The model is not asked."""
    async with services.database.reading() as session:
        await expect_user(session, user_id)
    served = await services.prompts.of(user_id)
    prompt = served.prompt
    return PromptOut(
        variant=None if served.variant is None else served.variant.variant_id,
        segments=[
            PromptSegmentOut(name=one.name, part=one.name.part.value, text=one.text, tokens=tokens)
            for one, tokens in zip(prompt.segments, served.segment_tokens, strict=True)
        ],
        tokens=sum(served.segment_tokens),
        demonstration_refused=prompt.shortened.demonstration_refused,
        history_left_out=prompt.shortened.history_left_out,
        fingerprint=served.fingerprint,
    )
