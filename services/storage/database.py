"""One database, SQLite or PostgreSQL: its engine, and the two ways to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)

from services.errors import Unavailable
from services.observability.logging import get_logger
from services.settings import Settings

Result = TypeVar("Result")

ATTEMPTS = 5
# Nothing was done, so the work can be done again: PostgreSQL's serialization failure, deadlock, and
# a foreign key whose row was deleted after the work had made sure of it.
RETRYABLE_STATES = {"40001", "40P01", "23503"}
# PostgreSQL's classes of errors that say nothing about the statement: connection lost, resources
# exhausted, shutting down or starting up.
OUTAGE_CLASSES = ("08", "53", "57")
MISSING_STATES = {"42P01", "42703"}  # a table, a column
RETRY_AFTER_SECONDS = 1
WRITING = "lrgd_writing"

log = get_logger(__name__)


class Database:
    """Whatever it is asked, it answers within its deadline or raises Unavailable."""

    def __init__(self, dsn: str, *, pool_size: int = 10, timeout_seconds: float = 10) -> None:
        url = make_url(dsn)
        self.dialect = url.get_backend_name()
        self._timeout = timeout_seconds
        self.engine = _engine(url, pool_size, timeout_seconds)
        self._snapshots = self.engine
        if self.dialect == "postgresql":
            self._snapshots = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._writing = self.engine.execution_options(**{WRITING: True})
        # SQLite has one writer: waiting here is fair and cheap, waiting in the file is neither.
        self._writer = asyncio.Lock() if self.dialect == "sqlite" else None

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session over one consistent snapshot, never committed."""
        with _outages_named():
            async with AsyncSession(self._snapshots, expire_on_commit=False) as session:
                yield session

    async def write(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction and commit it. It is run again after a deadlock, so it
        must have no effect outside the session; what follows a commit comes after this call."""
        for attempt in range(ATTEMPTS):
            try:
                with _outages_named():
                    return await self._write_once(work)
            except DBAPIError as error:
                if not _is_retryable(error) or attempt == ATTEMPTS - 1:
                    raise
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("unreachable")

    async def _write_once(self, work: Callable[[AsyncSession], Awaitable[Result]]) -> Result:
        async with (
            self._turn(),
            AsyncSession(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            return await work(session)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._writer is None:
            yield
            return
        async with asyncio.timeout(self._timeout):
            await self._writer.acquire()
        try:
            yield
        finally:
            self._writer.release()

    @contextlib.asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may change the schema."""
        async with self._writing.connect() as connection:
            if self.dialect == "postgresql":
                async with connection.begin():
                    yield connection
                return
            # SQLite changes a table by copying it and dropping the old one, at which enforced
            # foreign keys would delete every row that refers to it.
            raw: Any = (await connection.get_raw_connection()).driver_connection
            await raw.execute("PRAGMA foreign_keys=OFF")
            try:
                async with connection.begin():
                    yield connection
                    orphans = await connection.exec_driver_sql("PRAGMA foreign_key_check")
                    assert not orphans.all(), "the migration left rows that refer to nothing"
            finally:
                await raw.execute("PRAGMA foreign_keys=ON")

    async def expect_schema(self) -> None:
        """Unavailable if it does not answer, or answers that it was never migrated."""
        async with asyncio.timeout(self._timeout), self.reading() as session:
            await session.execute(text("SELECT version_num FROM alembic_version"))

    async def aclose(self) -> None:
        await self.engine.dispose()


def open_database(settings: Settings) -> Database:
    return Database(
        settings.database_dsn,
        pool_size=settings.database_pool_size,
        timeout_seconds=settings.database_timeout_seconds,
    )


@contextlib.contextmanager
def _outages_named() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if _lacks_tables(error):
            raise Unavailable(
                "the database does not have the tables of this version: run `lrgd migrate`"
            ) from error
        if not _is_outage(error):
            raise
        log.warning("database_unavailable", error=type(error).__name__, detail=str(error))
        raise Unavailable(
            "the database does not answer; nothing was changed, try again",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        ) from error


def _lacks_tables(error: Exception) -> bool:
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    return state in MISSING_STATES or "no such table" in str(error.orig)


def _is_outage(error: Exception) -> bool:
    """Whether the database could not be reached, as opposed to having refused the statement."""
    if not isinstance(error, DBAPIError):
        # What is raised while connecting, and by a deadline, comes as the driver made it.
        return isinstance(error, (OSError, PoolTimeout)) or hasattr(error, "sqlstate")
    if isinstance(error, OperationalError):  # SQLite also calls a table that is missing so
        return getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR
    state = getattr(error.orig, "sqlstate", None) or ""
    return (
        isinstance(error, InterfaceError)
        or error.connection_invalidated
        or state.startswith(OUTAGE_CLASSES)
    )


def _engine(url: URL, pool_size: int, timeout: float) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=timeout,
            hide_parameters=True,  # errors are logged, and the data in them is our users'
        )
        _prepare_sqlite(engine, timeout)
        return engine
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "timeout": timeout,
            "command_timeout": timeout,
            "server_settings": {"application_name": "lrgd", "jit": "off"},
        },
    )


def _prepare_sqlite(engine: AsyncEngine, timeout: float) -> None:
    if engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is deferred, so two writers could both read and then collide;
        # we begin ourselves (below).
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={int(timeout * 1000)}",  # first: the next one takes a lock
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            # Enough for the hot pages of a large catalog; fewer, longer checkpoints.
            "cache_size=-16000",
            "wal_autocheckpoint=4000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        writing = connection.get_execution_options().get(WRITING, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _is_retryable(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in RETRYABLE_STATES
