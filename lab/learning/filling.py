"""A database to learn on, made once: what it holds is written, and then one file without a
journal, so that it can be copied."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.learning.world import opened_database
from services.catalog.catalog import Catalog, NothingFollows
from services.catalog.inputs import NewEvent, NewItem, NewUser
from services.catalog.positives import PositiveEvents
from services.schema import upgrade
from services.settings import UnknownIds

_BATCH = 5_000

T = TypeVar("T")


@dataclass(frozen=True)
class Contents:
    """Users of events who are not among `users` are made; items must be known."""

    items: Sequence[NewItem]
    events: Sequence[NewEvent]
    users: Sequence[NewUser] = ()


async def make(file: Path, contents: Contents, positives: PositiveEvents) -> None:
    """A new one, whole or not at all: a file that is there is complete."""
    half = file.with_suffix(".half")
    await asyncio.to_thread(half.unlink, missing_ok=True)
    await fill(half, contents, positives)
    await asyncio.to_thread(half.rename, file)


async def fill(file: Path, contents: Contents, positives: PositiveEvents) -> None:
    """With more, where there is something."""
    async with opened_database(file) as database:
        await upgrade(database)
        catalog = Catalog(
            database,
            positives=positives,
            unknown_users=UnknownIds.CREATE,
            unknown_items=UnknownIds.REFUSE,
            after=NothingFollows(),
        )
        for items in _batches(contents.items):
            await catalog.upsert_items(items)
        for users in _batches(contents.users):
            await catalog.upsert_users(users)
        for events in _batches(contents.events):
            await catalog.record(events)
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def copy_whole(base: Path, file: Path) -> None:
    """Whole or not at all: a file that is there is complete, and left as it is."""
    if not file.exists():
        half = file.with_suffix(".half")
        shutil.copyfile(base, half)
        half.rename(file)


def _batches(rows: Sequence[T]) -> list[Sequence[T]]:
    return [rows[begin : begin + _BATCH] for begin in range(0, len(rows), _BATCH)]
