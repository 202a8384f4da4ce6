"""Imports: lines come in batches, and each batch is committed together with how far it got.

An import that broke off goes on after its last committed line; a bad line is reported with its
number and reason, and the good ones around it land.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog.catalog import Catalog, RowResult, RowStatus
from services.catalog.inputs import Kind, NewEvent, NewItem, NewUser
from services.catalog.loaders import BadLine, Format, Line, Position, detect, read
from services.catalog.repository import CatalogRepository
from services.errors import Conflict

BATCH_LINES = 5000


@dataclass(frozen=True, slots=True)
class ImportState:
    import_id: str
    lines: int = 0
    position: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    finished: bool = False

    @property
    def resume_at(self) -> Position:
        return Position(self.lines, self.position)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that did not land, and why."""

    number: int
    reason: str


class Import:
    """One import, from where it stands in the database."""

    def __init__(self, catalog: Catalog, state: ImportState) -> None:
        self._catalog = catalog
        self.state = state

    @classmethod
    async def open(cls, catalog: Catalog, import_id: str) -> Import:
        async with catalog.database.reading() as session:
            stored = await CatalogRepository(session).import_state(import_id)
        if stored is None:
            return cls(catalog, ImportState(import_id))
        fields = ImportState.__dataclass_fields__
        return cls(catalog, ImportState(**{name: getattr(stored, name) for name in fields}))

    async def start_over(self) -> None:
        await self._move_to(ImportState(self.state.import_id))

    async def bring(self, lines: Sequence[Line]) -> list[Refusal]:
        """Commit a batch of consecutive lines; those that did not land come back with reasons."""
        results = await self._catalog.database.write(lambda session: self._store(session, lines))
        self.state, refusals = self._after(lines, results)
        if any(isinstance(line.row, NewItem) for line in lines):
            await self._catalog.announce_items()
        return refusals

    async def finish(self) -> None:
        """Call when the last line has been brought: what follows a commit of events follows now."""
        await self._move_to(replace(self.state, finished=True))
        await self._catalog.announce_positives()

    async def _move_to(self, state: ImportState) -> None:
        await self._catalog.database.write(lambda session: self._save(session, state))
        self.state = state

    async def _store(self, session: AsyncSession, lines: Sequence[Line]) -> dict[int, RowResult]:
        """Items and users first: the events of the same batch may name them."""
        catalog = CatalogRepository(session)
        rows = {line.number: line.row for line in lines if not isinstance(line.row, BadLine)}
        items = {n: row for n, row in rows.items() if isinstance(row, NewItem)}
        users = {n: row for n, row in rows.items() if isinstance(row, NewUser)}
        events = {n: row for n, row in rows.items() if isinstance(row, NewEvent)}
        stored = [
            *await self._catalog.upsert_items_in(catalog, list(items.values())),
            *await self._catalog.upsert_users_in(catalog, list(users.values())),
            *(await self._catalog.record_in(catalog, list(events.values()))).results,
        ]
        results = dict(zip((*items, *users, *events), stored, strict=True))
        await self._save(session, self._after(lines, results)[0])
        return results

    async def _save(self, session: AsyncSession, state: ImportState) -> None:
        """Two that bring the same lines, as when a retry overtakes the broken upload, would count
        what the other brought as duplicates: the second one stops."""
        values = {**asdict(state), "updated_at": datetime.now(UTC)}
        if not await CatalogRepository(session).save_import(values, after=self.state.lines):
            raise Conflict(
                f"the import {state.import_id} is going on elsewhere: wait a moment and try again"
            )

    def _after(
        self, lines: Sequence[Line], results: dict[int, RowResult]
    ) -> tuple[ImportState, list[Refusal]]:
        refusals = []
        counts = dict.fromkeys(RowStatus, 0)
        for line in lines:
            if isinstance(line.row, BadLine):
                refusals.append(Refusal(line.number, line.row.reason))
            else:
                result = results[line.number]
                counts[result.status] += 1
                if result.status is RowStatus.REFUSED:
                    refusals.append(Refusal(line.number, result.detail or ""))
        state = replace(
            self.state,
            lines=lines[-1].number,
            position=lines[-1].end,
            accepted=self.state.accepted + counts[RowStatus.ACCEPTED],
            duplicates=self.state.duplicates + counts[RowStatus.DUPLICATE],
            refused=self.state.refused + len(refusals),
        )
        return state, refusals


async def import_file(
    catalog: Catalog,
    path: Path,
    *,
    import_id: str,
    format: Format | None = None,
    kind: Kind | None = None,
    event_type: str = "purchase",
    min_core: int | None = None,
    again: bool = False,
    on_batch: Callable[[ImportState, list[Refusal]], None] = lambda _state, _refusals: None,
) -> ImportState:
    """Bring a file, from where an earlier try broke off; `again` brings a finished one anew."""
    run = await Import.open(catalog, import_id)
    if run.state.finished:
        if not again:
            return run.state
        await run.start_over()
    if format is None:
        detected, found = detect(path)
        kind = kind or found
    lines = read(
        path,
        format or detected,
        kind,
        start=run.state.resume_at,
        event_type=event_type,
        min_core=min_core,
    )
    # The next lines are parsed in a thread while the database works on the last ones.
    coming = asyncio.create_task(asyncio.to_thread(_batch, lines))
    with _only_new_garbage():
        try:
            while batch := await coming:
                coming = asyncio.create_task(asyncio.to_thread(_batch, lines))
                refusals = await run.bring(batch)
                on_batch(run.state, refusals)
        finally:
            await asyncio.wait((coming,))  # the thread must not go on reading behind our back
    await run.finish()
    return run.state


@contextlib.contextmanager
def _only_new_garbage() -> Iterator[None]:
    """So many rows come and go that Python looks again and again for cycles among all that it has
    loaded, a fifth of an import's time. There are none: leave what is older than the import out."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _batch(lines: Iterator[Line]) -> list[Line]:
    return list(islice(lines, BATCH_LINES))
