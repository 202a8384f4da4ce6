"""POST /recommend, and what was recommended."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.dependencies import ACCESS_ERRORS, ArrivedAt, PathId, Provided, caller_with
from api.problems import documented
from services.access.keys import Scope
from services.catalog.inputs import Id, Label, Title
from services.demonstrations.variant import ServedVariant
from services.errors import InvalidRequest, NotFound, Overloaded, TooLarge, Unavailable
from services.prompts import Mode
from services.recommendations.leave_one_out import LeaveOneOut, LeftOutKind
from services.recommendations.replies import segments_of
from services.recommendations.wanted import (
    Explain,
    Explanation,
    GivenItem,
    Recommendation,
    Source,
    Wanted,
)

router = APIRouter(
    tags=["recommend"], responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS)
)


class InlineItem(BaseModel):
    """An item with its title, which need not be in the catalog."""

    model_config = ConfigDict(extra="forbid")

    item_id: Id
    title: Title

    def given(self) -> GivenItem:
        return GivenItem(self.item_id, self.title)


AnyItem = Id | InlineItem


class RecommendIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"user_id": "user-0001", "k": 10}}
    )

    user_id: Id | None = None
    history: Annotated[tuple[AnyItem, ...], Field(max_length=1000)] = Field(
        (), description="Items taken by someone without an account, oldest first: ids, or titles."
    )
    candidates: Annotated[tuple[AnyItem, ...], Field(min_length=2, max_length=128)] | None = Field(
        None,
        description="Rank these items and no others: ids, or items with titles.",
        json_schema_extra={"uniqueItems": True},
    )
    k: int = Field(10, ge=1, le=100)
    exclude_seen: bool = Field(True, description="Leave out what the user has already taken.")
    category: Label | None = Field(None, description="Only items of this category.")
    deadline_ms: int | None = Field(
        None, ge=20, le=60_000, description="Then the list comes from what there is."
    )
    mode: Mode | None = Field(None, description="How the model ranks, for those who compare.")
    explain: Explain = Field(
        False,
        description="Say how the list came to be; with `leave_one_out`, also what each past item "
        "and each sentence of the demonstration did for the first item, by ranking without it.",
    )

    @model_validator(mode="after")
    def _each_candidate_once(self) -> Self:
        ids = [item.item_id for item in map(_given, self.candidates or ())]
        if len(set(ids)) < len(ids):
            raise ValueError("candidates must not repeat an item")
        return self

    def wanted(self) -> Wanted:
        candidates = self.candidates
        return Wanted(
            user_id=self.user_id,
            history=tuple(map(_given, self.history)),
            candidates=None if candidates is None else tuple(map(_given, candidates)),
            k=self.k,
            exclude_seen=self.exclude_seen,
            category=self.category,
            deadline_seconds=None if self.deadline_ms is None else self.deadline_ms / 1000,
            mode=self.mode,
            explain=self.explain,
        )


class RecommendedOut(BaseModel):
    item_id: str
    title: str | None
    score: float = Field(description="Comparable within this list alone.")
    rank: int


class SegmentOut(BaseModel):
    name: str
    part: Literal["X_T", "X_D"] = Field(description="Instruction or demonstration.")
    text: str


class CandidateOut(BaseModel):
    item_id: str
    label: str | None
    raw: list[float] = Field(
        description="What the model said, for each order shown; then, below a whole step, without "
        "the demonstration."
    )
    prior: float = Field(description="Of retrieval.")


class LeftOutOut(BaseModel):
    kind: LeftOutKind
    text: str
    effect: float = Field(
        description="By how much the log-probability of the item is higher with it than without."
    )


class LeaveOneOutOut(BaseModel):
    item_id: str | None = Field(description="The first item of the list: whom this is about.")
    effects: list[LeftOutOut]
    not_asked: int = Field(description="Parts that there was no time or no prompt left for.")
    reason: str | None = Field(description="Why nothing was asked.")


class ExplanationOut(BaseModel):
    prompt: list[SegmentOut] = Field(description="As it was sent, in the first order shown.")
    segment_tokens: dict[str, int]
    history_left_out: int = Field(description="Items left out so that the prompt fits.")
    titles_cut: int
    demonstration_refused: bool
    permutations: int
    step_size: float | None = Field(
        description="How much of the demonstration's way is gone. Null where there is none."
    )
    label_prior: list[float] | None = Field(description="Subtracted, where calibrated.")
    prior_weight: float
    candidates: list[CandidateOut]
    unknown_items: list[str] = Field(description="Candidates that are not in the catalog.")
    fallbacks: list[str]
    leave_one_out: LeaveOneOutOut | None = None


class VariantOut(BaseModel):
    id: str
    path: int
    round: int
    effect_d: float = Field(description="On the user's held-out events, when it was judged.")


class RecommendOut(BaseModel):
    recommendation_id: str = Field(description="Send it along with the events that answer to it.")
    items: list[RecommendedOut]
    source: Source = Field(description="Where the order comes from.")
    degraded: bool = Field(description="true: the model had no part in this list.")
    reason: str | None = Field(description="Why it had none.")
    stored: bool = Field(description="true: the same question was answered a moment ago.")
    scoring_mode: Mode | None
    model: str | None
    variant: VariantOut | None = Field(description="The demonstration in the prompt, if any.")
    experiment: str | None = Field(description="The experiment this list counts for.")
    arm: str | None = Field(description="The arm of it by whose settings the list was made.")
    timings: dict[str, float] = Field(description="In milliseconds.")
    explanation: ExplanationOut | None = None


class ReplyOut(BaseModel):
    recommendation_id: str
    user_id: str | None
    made_at: datetime
    source: Source
    scoring_mode: Mode | None
    experiment: str | None
    arm: str | None
    items: list[dict[str, str | float]]
    prompt: list[SegmentOut] = Field(description="As it was sent; empty where none was.")


@router.post(
    "/recommend",
    responses=documented(TooLarge, Overloaded),
    dependencies=[Depends(caller_with(Scope.RECOMMEND))],
)
async def recommend(wanted: RecommendIn, services: Provided, arrived_at: ArrivedAt) -> RecommendOut:
    """The best next items for a user, best first."""
    return answered(await services.recommender.recommend(wanted.wanted(), since=arrived_at))


@router.get(
    "/recommendations/{recommendation_id}",
    responses=documented(NotFound),
    dependencies=[Depends(caller_with(Scope.ADMIN))],
)
async def get_recommendation(recommendation_id: PathId, services: Provided) -> ReplyOut:
    """A list as it was served, with its prompt exactly as it was sent."""
    reply = await services.replies.reply(recommendation_id)
    if reply is None:
        raise NotFound("no list of this id was kept (LRGD_REPLIES_SHARE, LRGD_REPLIES_DAYS)")
    return ReplyOut(
        recommendation_id=reply.recommendation_id,
        user_id=reply.user_id,
        made_at=reply.made_at,
        source=Source(reply.source),
        scoring_mode=None if reply.scoring_mode is None else Mode(reply.scoring_mode),
        experiment=reply.experiment_id,
        arm=reply.arm,
        items=reply.items,
        prompt=[SegmentOut(**segment) for segment in reply.question],
    )


def _given(item: AnyItem) -> GivenItem:
    return GivenItem(item) if isinstance(item, str) else item.given()


def answered(given: Recommendation) -> RecommendOut:
    return RecommendOut(
        recommendation_id=given.recommendation_id,
        items=[
            RecommendedOut(item_id=i.item_id, title=i.title, score=i.score, rank=i.rank)
            for i in given.items
        ],
        source=given.source,
        degraded=given.degraded,
        reason=given.reason,
        stored=given.stored,
        scoring_mode=given.scoring_mode,
        model=given.model,
        variant=_variant(given.variant),
        experiment=given.experiment,
        arm=given.arm,
        timings=dict(given.timings),
        explanation=None if given.explanation is None else _explained(given.explanation),
    )


def _variant(variant: ServedVariant | None) -> VariantOut | None:
    if variant is None:
        return None
    return VariantOut(
        id=variant.variant_id, path=variant.path, round=variant.round, effect_d=variant.effect_d
    )


def _explained(explanation: Explanation) -> ExplanationOut:
    ranking = explanation.ranking
    if ranking is None:
        return ExplanationOut(
            prompt=[], segment_tokens={}, history_left_out=0, titles_cut=0,
            demonstration_refused=False, permutations=0, step_size=None, label_prior=None,
            prior_weight=explanation.prior_weight, candidates=[],
            unknown_items=list(explanation.unknown_items), fallbacks=list(explanation.fallbacks),
            leave_one_out=_left_out(explanation.leave_one_out),
        )  # fmt: skip
    prompt = ranking.prompts[0]
    labels = dict(zip(prompt.order, prompt.labels, strict=False))
    return ExplanationOut(
        prompt=[SegmentOut(**segment) for segment in segments_of(prompt)],
        segment_tokens=dict(explanation.segment_tokens),
        history_left_out=prompt.shortened.history_left_out,
        titles_cut=prompt.shortened.titles_cut,
        demonstration_refused=prompt.shortened.demonstration_refused,
        permutations=len(ranking.method.orders(len(ranking.item_ids))),
        step_size=ranking.method.step_size if prompt.demonstrates else None,
        label_prior=None if ranking.prior is None else list(ranking.prior),
        prior_weight=explanation.prior_weight,
        candidates=[
            CandidateOut(
                item_id=item_id,
                label=labels.get(place),
                raw=[said[place] for said in ranking.raw],
                prior=explanation.priors[item_id],
            )
            for place, item_id in enumerate(ranking.item_ids)
        ],
        unknown_items=list(explanation.unknown_items),
        fallbacks=list(explanation.fallbacks),
        leave_one_out=_left_out(explanation.leave_one_out),
    )


def _left_out(found: LeaveOneOut | None) -> LeaveOneOutOut | None:
    if found is None:
        return None
    return LeaveOneOutOut(
        item_id=found.item_id,
        effects=[
            LeftOutOut(kind=one.kind, text=one.text, effect=one.effect) for one in found.effects
        ],
        not_asked=found.not_asked,
        reason=found.reason,
    )
