"""JSONL in and out, as streams: as much as there is, in memory that does not grow with it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from api.dependencies import ACCESS_ERRORS, PathId, Provided, caller_with, media_type_of
from api.problems import documented
from services.access.keys import Scope
from services.catalog.catalog import RowStatus
from services.catalog.exporting import exported
from services.catalog.importing import BATCH_LINES, Import, ImportState
from services.catalog.inputs import Id, Kind
from services.catalog.loaders import Line, lines_of_stream
from services.errors import Conflict, InvalidRequest, NotFound, Unavailable, UnsupportedMediaType
from services.observability.metrics import Metrics, RowLabels

IMPORTS_PATH = "/imports/"
JSONL = "application/x-ndjson"
MOST_REFUSALS_TOLD = 1000

router = APIRouter(
    tags=["transfers"],
    dependencies=[Depends(caller_with(Scope.INGEST))],
    responses=documented(InvalidRequest, Unavailable, *ACCESS_ERRORS),
)

ImportId = Annotated[
    Id | None,
    Query(
        description="Names the import. Sent again with the same name after a broken connection, "
        "the lines that were committed are skipped."
    ),
]


class RefusedLine(BaseModel):
    number: int = Field(description="Line of the stream, from 1.")
    reason: str


class ImportProgress(BaseModel):
    import_id: str
    lines: int = Field(description="Lines committed so far, bad ones included.")
    accepted: int
    duplicates: int
    refused: int
    finished: bool


class ImportReport(ImportProgress):
    refusals: list[RefusedLine] = Field(
        description=f"Lines of this request that did not land, the first {MOST_REFUSALS_TOLD}."
    )


@router.post(
    IMPORTS_PATH + "{kind}",
    responses=documented(Conflict, UnsupportedMediaType),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSONL: {"schema": {"type": "string"}}},
        }
    },
)
async def import_stream(
    kind: Kind, request: Request, services: Provided, import_id: ImportId = None
) -> ImportReport:
    """Import a stream of JSON objects, one a line. Good lines land, bad ones are reported."""
    if media_type_of(request) != JSONL:
        raise UnsupportedMediaType(f"send one JSON object a line as `Content-Type: {JSONL}`")
    import_id = import_id or f"http-{uuid.uuid4().hex}"
    run = await Import.open(services.catalog, import_id)
    lines = lines_of_stream(request.stream(), kind, origin=import_id)
    refusals: list[RefusedLine] = []
    if not run.state.finished:
        async for batch in _batches(lines, skip=run.state.lines):
            before = run.state
            found = await run.bring(batch)
            _count(services.metrics, kind, before, run.state)
            for refusal in found:
                if len(refusals) < MOST_REFUSALS_TOLD:
                    refusals.append(RefusedLine(number=refusal.number, reason=refusal.reason))
        await run.finish()
    return ImportReport(**_progress(run).model_dump(), refusals=refusals)


@router.get(IMPORTS_PATH + "progress/{import_id}", responses=documented(NotFound))
async def import_progress(import_id: PathId, services: Provided) -> ImportProgress:
    """How far an import has got."""
    run = await Import.open(services.catalog, import_id)
    if run.state.lines == 0 and not run.state.finished:
        raise NotFound("no line of an import of this name was committed")
    return _progress(run)


@router.get(
    "/exports/{kind}",
    response_class=StreamingResponse,
    responses={200: {"content": {JSONL: {"schema": {"type": "string"}}}}},
)
async def export_stream(kind: Kind, services: Provided) -> StreamingResponse:
    """All items, users or events, one JSON object a line, as POST /imports takes them."""
    pages = exported(services.database, kind)
    # The first page before the answer begins: a database that is down is then a plain 503.
    first = await anext(pages, b"")
    return StreamingResponse(_continued(first, pages), media_type=JSONL)


async def _continued(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for page in rest:
        yield page


async def _batches(lines: AsyncIterator[Line], *, skip: int) -> AsyncIterator[list[Line]]:
    batch: list[Line] = []
    async for line in lines:
        if line.number <= skip:
            continue
        batch.append(line)
        if len(batch) == BATCH_LINES:
            yield batch
            batch = []
    if batch:
        yield batch


def _count(metrics: Metrics, kind: Kind, before: ImportState, after: ImportState) -> None:
    for status, count in (
        (RowStatus.ACCEPTED, after.accepted - before.accepted),
        (RowStatus.DUPLICATE, after.duplicates - before.duplicates),
        (RowStatus.REFUSED, after.refused - before.refused),
    ):
        metrics.rows.add(RowLabels(kind, status), count)


def _progress(run: Import) -> ImportProgress:
    state = run.state
    return ImportProgress(
        import_id=state.import_id,
        lines=state.lines,
        accepted=state.accepted,
        duplicates=state.duplicates,
        refused=state.refused,
        finished=state.finished,
    )
