"""POST /rerank, in the contract that rerankers have in common (Cohere, Jina, vLLM)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from api.dependencies import ACCESS_ERRORS, ArrivedAt, Provided, caller_with
from api.problems import documented
from services.access.keys import Scope
from services.catalog.inputs import Storable
from services.errors import InvalidRequest, Overloaded, TooLarge, Unavailable
from services.prompts import MOST_CANDIDATES
from services.recommendations.wanted import Source

router = APIRouter(
    tags=["recommend"], responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS)
)

Text = Annotated[str, StringConstraints(min_length=1, max_length=10_000), Storable]
Query = Annotated[str, StringConstraints(min_length=1, max_length=100_000), Storable]


class DocumentIn(BaseModel):
    # As in the whole request: callers of rerankers send what others understand.
    model_config = ConfigDict(extra="ignore")

    text: Text


Document = Text | DocumentIn


class RerankIn(BaseModel):
    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "example": {
                "query": "Camping Lamp\nFolding Chair",
                "documents": ["Hammock", "Silk Scarf", "Camping Stove"],
                "top_n": 2,
            }
        },
    )

    model: str | None = Field(None, description="Not looked at: the model is that of the gateway.")
    query: Query = Field(description="What was taken so far: a title on each line, oldest first.")
    documents: list[Document] = Field(
        description="Titles to rank; a long text is cut.",
        json_schema_extra={"minItems": 1, "maxItems": MOST_CANDIDATES},
    )
    top_n: int | None = Field(None, ge=1, description="Only so many of the best.")
    return_documents: bool = False
    deadline_ms: int | None = Field(
        None, ge=20, le=60_000, description="Then the order is that of the request."
    )

    @field_validator("documents")
    @classmethod
    def _as_many_as_can_be_ranked(cls, documents: list[Document]) -> list[Document]:
        if not 1 <= len(documents) <= MOST_CANDIDATES:
            raise ValueError(
                f"1 to {MOST_CANDIDATES} documents can be ranked together, not {len(documents)}: "
                "send those that a cheaper search likes best"
            )
        return documents

    def texts(self) -> list[str]:
        return [one if isinstance(one, str) else one.text for one in self.documents]


class DocumentOut(BaseModel):
    text: str


class RelevanceOut(BaseModel):
    index: int = Field(description="The document's place in the request.")
    relevance_score: float = Field(
        ge=0, le=1, description="A probability: they add up to 1 over all documents of the request."
    )
    document: DocumentOut | None = None


class UsageOut(BaseModel):
    prompt_tokens: int
    total_tokens: int


class RerankOut(BaseModel):
    id: str
    model: str | None = Field(description="null: no model had a part in it.")
    results: list[RelevanceOut] = Field(description="The most relevant first.")
    usage: UsageOut
    source: Source = Field(description="`given`: the order of the request, as no model answered.")
    degraded: bool = Field(description="true: the model had no part in this order.")
    reason: str | None = Field(description="Why it had none.")


@router.post(
    "/rerank",
    responses=documented(TooLarge, Overloaded),
    dependencies=[Depends(caller_with(Scope.RECOMMEND))],
)
async def rerank(wanted: RerankIn, services: Provided, arrived_at: ArrivedAt) -> RerankOut:
    """Documents by what the model expects next after the query."""
    texts = wanted.texts()
    given = await services.reranker.rerank(
        wanted.query,
        texts,
        deadline_seconds=None if wanted.deadline_ms is None else wanted.deadline_ms / 1000,
        since=arrived_at,
    )
    results = [
        RelevanceOut(
            index=one.index,
            relevance_score=one.score,
            document=DocumentOut(text=texts[one.index]) if wanted.return_documents else None,
        )
        for one in given.relevances[: wanted.top_n]
    ]
    usage = UsageOut(
        prompt_tokens=given.usage.prompt, total_tokens=given.usage.prompt + given.usage.completion
    )
    return RerankOut(
        id=given.rerank_id,
        model=given.model,
        results=results,
        usage=usage,
        source=given.source,
        degraded=given.degraded,
        reason=given.reason,
    )
