"""Bodies with one row or many: a batch is not refused for one bad row, each row has a result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from api.problems import field_problems
from services.catalog.catalog import RowResult, RowStatus, refused
from services.catalog.inputs import Input, Kind
from services.errors import InvalidRequest, TooLarge
from services.observability.metrics import Metrics, RowLabels

Row = TypeVar("Row", bound=Input)


class RowReport(BaseModel):
    index: int
    status: RowStatus
    code: str | None = Field(None, description="Why the row was refused; stable, for programs.")
    detail: str | None = None


class BatchReport(BaseModel):
    """What became of each row, in the order sent."""

    accepted: int
    duplicates: int
    refused: int
    results: list[RowReport]


class Batch(Generic[Row]):
    """The rows of a body that fit the schema, and a place for the result of every row."""

    def __init__(self, rows: dict[int, Row], refusals: dict[int, RowResult]) -> None:
        self.rows = rows
        self.refusals = refusals

    async def store(
        self,
        kind: Kind,
        metrics: Metrics,
        store: Callable[[Sequence[Row]], Awaitable[Sequence[RowResult]]],
    ) -> BatchReport:
        stored = await store(list(self.rows.values())) if self.rows else []
        results = {**self.refusals, **dict(zip(self.rows, stored, strict=True))}
        counts = dict.fromkeys(RowStatus, 0)
        for result in results.values():
            counts[result.status] += 1
        for status, count in counts.items():
            if count:
                metrics.rows.add(RowLabels(kind, status), count)
        return BatchReport(
            accepted=counts[RowStatus.ACCEPTED],
            duplicates=counts[RowStatus.DUPLICATE],
            refused=counts[RowStatus.REFUSED],
            results=[
                RowReport.model_construct(
                    index=at, status=result.status, code=result.code, detail=result.detail
                )
                for at, result in sorted(results.items())
            ],
        )


@cache
def _adapters(row: type[Row]) -> tuple[TypeAdapter[Row], TypeAdapter[list[Row]]]:
    return TypeAdapter(row), TypeAdapter(list[row])  # type: ignore[valid-type]


def read_batch(body: bytes, row: type[Row], *, max_rows: int) -> Batch[Row]:
    """An object is one row, which must fit; an array is a batch, whose bad rows are reported."""
    one, many = _adapters(row)
    if not body.lstrip().startswith(b"["):
        try:
            return Batch({0: one.validate_json(body)}, {})
        except ValidationError as error:
            raise _whole_body_is_wrong(error) from None
    try:
        rows = dict(enumerate(many.validate_json(body)))
        refusals: dict[int, RowResult] = {}
    except ValidationError as error:
        rows, refusals = _sorted_out(body, one, error)
    if len(rows) + len(refusals) > max_rows:
        raise TooLarge(
            f"a batch may have {max_rows} rows (LRGD_MAX_BATCH_ROWS): send several, "
            "or stream JSONL to /imports"
        )
    return Batch(rows, refusals)


def _sorted_out(
    body: bytes, one: TypeAdapter[Row], error: ValidationError
) -> tuple[dict[int, Row], dict[int, RowResult]]:
    complaints: dict[int, list[str]] = {}
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        if not found["loc"]:  # not JSON at all
            raise _whole_body_is_wrong(error) from None
        at = found["loc"][0]
        assert isinstance(at, int)
        problem = field_problems([{**found, "loc": found["loc"][1:]}])[0]
        complaints.setdefault(at, []).append(f"{problem.pointer}: {problem.detail}")
    objects = from_json(body)
    rows = {
        at: one.validate_python(found) for at, found in enumerate(objects) if at not in complaints
    }
    refusals = {at: refused("invalid_row", "; ".join(told)) for at, told in complaints.items()}
    return rows, refusals


def _whole_body_is_wrong(error: ValidationError) -> InvalidRequest:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return InvalidRequest("correct the fields listed in `errors`", errors=field_problems(found))


def one_or_many(row: type[Input], *, example: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra=` of a route that reads its body with `read_batch`."""
    schema = row.model_json_schema(mode="validation")
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"anyOf": [schema, {"type": "array", "items": schema}]},
                    "example": [example],
                }
            },
        }
    }
